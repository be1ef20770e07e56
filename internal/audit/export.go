package audit

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/spreadsheet"
)

// Format is a form of an export.
type Format string

// The forms of an export.
const (
	CSV       Format = "csv"
	JSONLines Format = "jsonl"
	// OCSF is a line of JSON for each entry: API Activity (class 6003) of the Open Cybersecurity Schema Framework 1.3.
	OCSF Format = "ocsf"
)

// ContentType is the form's media type.
func (f Format) ContentType() string {
	if f == CSV {
		return "text/csv; charset=utf-8"
	}
	return "application/x-ndjson"
}

// exportPage is how many entries are in memory at once.
const exportPage = 1000

// Export writes the entries that a search finds, newest first, and calls written after each page with how many it has
// written so far; an error of that ends it. It needs no more memory for more entries. Entries that come after it began are
// not in it.
func Export(ctx context.Context, q postgres.Querier, f Filter, form Format, w io.Writer, written func(n int64) error) error {
	out := exporterOf(form, w)
	if err := out.begin(); err != nil {
		return err
	}
	f.Limit = exportPage
	for n := int64(0); ; {
		page, err := searchPage(ctx, q, f)
		if err != nil {
			return err
		}
		for i := range page {
			if err := out.entry(&page[i]); err != nil {
				return err
			}
		}
		if err := out.flush(); err != nil {
			return err
		}
		n += int64(len(page))
		if err := written(n); err != nil {
			return err
		}
		if len(page) < exportPage {
			return nil
		}
		last := page[len(page)-1]
		f.Before, f.BeforeID = last.Timestamp, last.ID
	}
}

// searchPage is Search with a time of its own, so that an export may take long and no page of it.
func searchPage(ctx context.Context, q postgres.Querier, f Filter) ([]Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return Search(ctx, q, f)
}

type exporter interface {
	begin() error
	entry(e *Entry) error
	flush() error
}

func exporterOf(form Format, w io.Writer) exporter {
	switch form {
	case CSV:
		return csvExport{csv.NewWriter(w)}
	case OCSF:
		return jsonExport{json.NewEncoder(w), func(e *Entry) any { return ocsfOf(e) }}
	default:
		return jsonExport{json.NewEncoder(w), func(e *Entry) any { return lineOf(e) }}
	}
}

type csvExport struct{ w *csv.Writer }

var csvHead = []string{
	"timestamp", "id", "user_id", "actor_type", "role", "action", "resource_type", "resource_id", "result", "code", "interface", "request_id", "source_ip", "user_agent", "details", "leaf_hash",
}

func (c csvExport) begin() error { return c.w.Write(csvHead) }

func (c csvExport) entry(e *Entry) error {
	details := ""
	if len(e.Details) > 0 {
		b, err := plainJSON(e.Details)
		if err != nil {
			return err
		}
		details = string(b)
	}
	row := []string{
		e.Timestamp.UTC().Format(time.RFC3339Nano), e.ID.String(), e.UserID, e.ActorType, e.Role, e.ActionType, e.ResourceType, e.ResourceID, e.Result, e.Code, e.Interface, e.RequestID,
		e.known(e.SourceIP), e.known(e.UserAgent), details, e.leafHash(),
	}
	for i := range row {
		row[i] = spreadsheet.Cell(row[i])
	}
	return c.w.Write(row)
}

func (c csvExport) flush() error {
	c.w.Flush()
	return c.w.Error()
}

type jsonExport struct {
	out *json.Encoder
	of  func(e *Entry) any
}

func (jsonExport) begin() error           { return nil }
func (j jsonExport) entry(e *Entry) error { return j.out.Encode(j.of(e)) }
func (jsonExport) flush() error           { return nil }

// line is an entry in JSON Lines, in the words of the API.
type line struct {
	ID           string         `json:"id"`
	Timestamp    time.Time      `json:"timestamp"`
	UserID       string         `json:"user_id"`
	ActorType    string         `json:"actor_type"`
	Role         string         `json:"role,omitempty"`
	Action       string         `json:"action"`
	ResourceType string         `json:"resource_type"`
	ResourceID   string         `json:"resource_id"`
	Result       string         `json:"result"`
	Code         string         `json:"code,omitempty"`
	Interface    string         `json:"interface"`
	RequestID    string         `json:"request_id,omitempty"`
	SourceIP     string         `json:"source_ip,omitempty"`
	UserAgent    string         `json:"user_agent,omitempty"`
	Erased       bool           `json:"erased,omitempty"`
	Details      map[string]any `json:"details,omitempty"`
	LeafHash     string         `json:"leaf_hash"`
}

func lineOf(e *Entry) line {
	return line{
		e.ID.String(), e.Timestamp.UTC(), e.UserID, e.ActorType, e.Role, e.ActionType, e.ResourceType, e.ResourceID, e.Result, e.Code, e.Interface, e.RequestID,
		value(e.SourceIP), value(e.UserAgent), e.Erased, e.Details, e.leafHash(),
	}
}

// Parts of OCSF 1.3.0, https://schema.ocsf.io/1.3.0/classes/api_activity. What is required there is always written.
type (
	ocsfEvent struct {
		ActivityID   int            `json:"activity_id"`
		ActivityName string         `json:"activity_name"`
		CategoryUID  int            `json:"category_uid"`
		CategoryName string         `json:"category_name"`
		ClassUID     int            `json:"class_uid"`
		ClassName    string         `json:"class_name"`
		TypeUID      int            `json:"type_uid"`
		TypeName     string         `json:"type_name"`
		Time         int64          `json:"time"` // milliseconds
		SeverityID   int            `json:"severity_id"`
		Severity     string         `json:"severity"`
		StatusID     int            `json:"status_id"`
		Status       string         `json:"status"`
		StatusCode   string         `json:"status_code,omitempty"`
		Metadata     ocsfMetadata   `json:"metadata"`
		API          ocsfAPI        `json:"api"`
		Actor        ocsfActor      `json:"actor"`
		SrcEndpoint  ocsfEndpoint   `json:"src_endpoint"`
		HTTPRequest  *ocsfRequest   `json:"http_request,omitempty"`
		Resources    []ocsfResource `json:"resources"`
		Unmapped     map[string]any `json:"unmapped"`
	}
	ocsfMetadata struct {
		Version string      `json:"version"`
		UID     string      `json:"uid"`
		Product ocsfProduct `json:"product"`
	}
	ocsfProduct struct {
		Name       string `json:"name"`
		VendorName string `json:"vendor_name"`
	}
	ocsfAPI struct {
		Operation string       `json:"operation"`
		Service   ocsfService  `json:"service"`
		Request   *ocsfRequest `json:"request,omitempty"`
	}
	ocsfService struct {
		Name string `json:"name"`
	}
	ocsfRequest struct {
		UID       string `json:"uid,omitempty"`
		UserAgent string `json:"user_agent,omitempty"`
	}
	ocsfActor struct {
		User ocsfUser `json:"user"`
	}
	ocsfUser struct {
		UID    string `json:"uid"`
		TypeID int    `json:"type_id"`
		Type   string `json:"type"`
	}
	ocsfEndpoint struct {
		Name string `json:"name"`
		IP   string `json:"ip,omitempty"`
	}
	ocsfResource struct {
		UID  string `json:"uid,omitempty"`
		Type string `json:"type"`
	}
)

// activities are what the last word of an action is to OCSF; any other is an update.
var activities = []struct {
	id    int
	name  string
	words []string
}{
	{1, "Create", []string{"create", "import", "adopt", "publish", "push", "bootstrap"}},
	{2, "Read", []string{"read", "list", "search", "simulate"}},
	{4, "Delete", []string{"terminate", "delete", "revoke", "deactivate", "archive", "erase"}},
	{99, "Other", []string{"sign_in", "heartbeat"}},
}

func ocsfOf(e *Entry) ocsfEvent {
	const category, class = 6, 6003
	v := ocsfEvent{
		ActivityID: 3, ActivityName: "Update", CategoryUID: category, CategoryName: "Application Activity", ClassUID: class, ClassName: "API Activity",
		Time: e.Timestamp.UnixMilli(), SeverityID: 1, Severity: "Informational", StatusID: 1, Status: "Success", StatusCode: e.Code,
		Metadata:    ocsfMetadata{"1.3.0", e.ID.String(), ocsfProduct{"RobCo Forge", "RobCo"}},
		API:         ocsfAPI{Operation: e.ActionType, Service: ocsfService{"forge"}},
		Actor:       ocsfActor{ocsfUser{e.UserID, 1, "User"}},
		SrcEndpoint: ocsfEndpoint{e.Interface, value(e.SourceIP)}, Resources: []ocsfResource{{e.ResourceID, e.ResourceType}},
		Unmapped: map[string]any{"leaf_hash": e.leafHash(), "interface": e.Interface, "actor_type": e.ActorType},
	}
	if e.ActorType != "user" {
		v.Actor.User.TypeID, v.Actor.User.Type = 3, "System"
	}
	verb := e.ActionType[strings.LastIndex(e.ActionType, ".")+1:]
	for _, a := range activities {
		if slices.Contains(a.words, verb) {
			v.ActivityID, v.ActivityName = a.id, a.name
		}
	}
	v.TypeUID, v.TypeName = class*100+v.ActivityID, "API Activity: "+v.ActivityName
	switch leaf.Result(e.Result) {
	case leaf.Success:
	case leaf.Refused:
		v.StatusID, v.Status, v.SeverityID, v.Severity = 2, "Failure", 2, "Low"
	case leaf.Failed:
		v.StatusID, v.Status, v.SeverityID, v.Severity = 2, "Failure", 3, "Medium"
	}
	if e.RequestID != "" {
		v.API.Request = &ocsfRequest{UID: e.RequestID}
	}
	if agent := value(e.UserAgent); agent != "" {
		v.HTTPRequest = &ocsfRequest{UserAgent: agent}
	}
	if e.Role != "" {
		v.Unmapped["role"] = e.Role
	}
	if e.Erased {
		v.Unmapped["erased"] = true
	}
	if len(e.Details) > 0 {
		v.Unmapped["details"] = e.Details
	}
	return v
}

func (e *Entry) leafHash() string {
	h := leaf.Hash(e.Leaf)
	return hex.EncodeToString(h[:])
}

// known is what a column of personal data says, or that it was erased.
func (e *Entry) known(s *string) string {
	if e.Erased {
		return "erased"
	}
	return value(s)
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// plainJSON is JSON without the escapes that are for web pages.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
