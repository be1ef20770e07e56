package notify

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"
)

// words are how a kind of message is said: in a line, and in full with what to do next. The fields are those of its payload.
type words struct{ subject, body string }

// reasons ends the texts about something that Amazon or a rule has said.
const reasons = `{{with .message}}
It says: {{.}}{{with $.code}} ({{.}}){{end}}
{{end}}`

const balance = `
  limit      {{usd .limit}}
  spent      {{usd .settled}}
  reserved   {{usd .held}}
`

const rule = `{{with .why}}
Why: {{.}}{{end}}{{with .how_to_delay}}
To keep it: {{.}}{{end}}
`

const yours = `
What to do: ` + "`forge describe {{.workspace_id}}` shows how it is, `forge events {{.workspace_id}}` what happened."

var kinds = map[string]words{
	"budget.warning": {
		`{{budget .}} is {{.percent}} percent used`,
		`{{budget .}} has come to its warning threshold of {{.percent}} percent.
` + balance + `
At 100 percent nothing more is started under it.

What to do: stop or terminate what is not needed (` + "`forge list`, `forge costs`" + `), or ask for more with
` + "`forge budgets request`" + `.`,
	},
	"budget.exhausted": {
		`{{budget .}} is used up`,
		`{{budget .}} has come to its limit.
` + balance + `
Nothing more is launched or started under it. Stopping and terminating always work, and what runs goes on
for as long as its enforcement lets it.

What to do: stop or terminate what is not needed (` + "`forge list`, `forge costs`" + `), or ask for more with
` + "`forge budgets request`" + `.`,
	},
	"budget.forecast": {
		`{{budget .}} may be {{.percent}} percent used on {{date .at}}`,
		`If {{budget . | lower}} goes on to cost {{usd .per_day}} a day, as on the average of the last seven days, it comes to {{.percent}} percent on {{date .at}}{{with .used_up_at}}, and
is used up on {{date .}}{{end}}. Its period ends on {{date .period_end}}. This is an estimate.
` + balance + `
What to do: nothing if that is what you mean to spend; otherwise stop or terminate what is not needed (` + "`forge list`, `forge costs`" + `), or ask
for more in time with ` + "`forge budgets request`" + `.`,
	},
	"budget.shortfall": {
		`{{budget .}} has no room for the fees that post on {{date .at}}`,
		`On {{date .at}} monthly fees of {{usd .fees}} post under {{budget . | lower}}, for the WorkSpaces that there are now. {{usd .held}} stay
reserved. Its limit is {{usd .limit}}: {{usd .missing}} are missing. The fees are charged all the same, and nothing more is started.

What to do: terminate what is not needed before that day (` + "`forge list`, `forge costs`" + `), or ask for more with
` + "`forge budgets request`" + `.`,
	},
	"budget.renewal_refused": {
		`{{workspace .}} runs on without room in the budget`,
		`The running time of {{workspace . | lower}} could not be reserved any further: a budget has no room left.
Under the enforcement block_and_stop it is stopped when the hour that is paid ends.

What to do: save your work and stop it (` + "`forge stop {{.workspace_id}}`" + `), or ask for more with ` + "`forge budgets request`" + `.
` + "`forge budgets`" + ` shows which budget it is.`,
	},
	"budget.requested": {
		`{{name .asked_by}} asks for {{usd .amount}} more for {{budget . | lower}}`,
		`{{name .asked_by}} asks for {{usd .amount}} more for {{budget . | lower}}{{with .until}}, until {{date .}}{{end}}. It is {{usd .limit}} now.

Reason: {{.reason}}

What to do: ` + "`forge budgets approve {{.request_id}}`" + `, with --amount for another one, or ` + "`forge budgets decline {{.request_id}}`" + `.`,
	},
	"budget.request_approved": {
		`{{budget .}} is {{usd .limit}} now`,
		`{{name .decided_by}} has approved your request: {{usd .amount}} more for {{budget . | lower}}{{with .until}} until {{date .}}, when it goes back by itself{{end}}. It is {{usd .limit}} now.{{with .asked}}
You had asked for {{usd .}}.{{end}}{{with .note}}

They say: {{.}}{{end}}

What to do: nothing. ` + "`forge budgets`" + ` shows it.`,
	},
	"budget.request_declined": {
		`Your request for {{usd .amount}} was declined`,
		`{{name .decided_by}} has declined your request for {{usd .amount}} more for {{budget . | lower}}.{{with .note}}

They say: {{.}}{{end}}

What to do: talk to them, or make do with ` + "`forge list` and `forge costs`" + `: what is stopped or terminated makes room.`,
	},
	"budget.loan_ended": {
		`{{budget .}} is {{usd .limit}} again`,
		`What was lent to {{budget . | lower}} has come to its end, as agreed.
` + balance + `{{with .overrun}}
More is spent or reserved than that, by {{usd .}}. Nothing more is launched or started until that is gone.
{{end}}
What to do: {{if .overrun}}terminate what is not needed (` + "`forge list`" + `), or ask again with ` + "`forge budgets request`" + `.{{else}}nothing. ` + "`forge budgets`" + ` shows it.{{end}}`,
	},
	"workspace.notice": {
		`{{workspace .}} will {{does .will}} on {{date .at}}`,
		`{{workspace .}} will {{does .will}} on {{date .at}}, by the rule "{{.policy}}".
` + rule + `
What to do: nothing if that is fine; otherwise save what you need in time.`,
	},
	"workspace.stale": {
		`{{workspace .}} seems forgotten`,
		`{{workspace .}} has been stopped and unused since {{date .stopped_since}}. It costs its monthly fee all the same.{{with .ends_at}}
It is terminated on {{date .}}, with its disks.{{end}}
` + rule + `
What to do: log in once to keep it, or ` + "`forge terminate {{.workspace_id}}`" + `.`,
	},
	"workspace.terminating": {
		`{{workspace .}} is being terminated`,
		`{{workspace .}} has come to its end by the rule "{{.policy}}", {{.age_days}} days old, and is terminated with its disks.
` + rule + `
What to do: ` + "`forge launch`" + ` makes a new one.`,
	},
	"workspace.schedule_refused": {
		`{{workspace .}} was not started as scheduled`,
		`It was to start at {{.local}}, and the budget has no room for it.

What to do: ` + "`forge budgets`" + ` shows which budget it is; stop what is not needed, or ask for more with ` + "`forge budgets request`" + `.`,
	},
	"workspace.budget_stop": {
		`{{workspace .}} is being stopped: its budget is used up`,
		`The running time of {{workspace . | lower}} that is paid has ended, and its budget stops what it cannot pay for. Its disks stay.
` + rule + `
What to do: ` + "`forge budgets`" + ` shows which budget it is; ask for more with ` + "`forge budgets request`" + `, then ` + "`forge start {{.workspace_id}}`" + `.`,
	},
	"workspace.changed":            {`{{workspace .}} was changed`, `{{workspace .}} is otherwise than before{{with .reason}} ({{.}}){{end}}:` + "\n{{changes .}}" + yours},
	"workspace.change_failed":      {`A change of {{workspace . | lower}} was not made`, `Amazon did not make the change that was asked for.` + "\n" + reasons + yours},
	"workspace.dropped":            {`An operation on {{workspace . | lower}} was not done`, `What was asked for was not done, and is not tried again.` + "\n" + reasons + yours},
	"workspace.migrated":           {`{{workspace .}} was moved to its new bundle`, `{{workspace .}} runs from its new bundle now. The user's disk came with it, the root disk is new.` + "\n" + yours},
	"workspace.migration_failed":   {`{{workspace .}} could not be moved to its new bundle`, `It is as it was before.` + "\n" + reasons + yours},
	"workspace.stuck":              {`{{workspace .}} takes too long`, `{{workspace .}} has been {{.state}} for longer than it should.` + "\n" + reasons + yours},
	"workspace.protocol":           {`{{workspace .}} speaks another protocol than its blueprint says`, `It may be out of reach for its user's client.` + "\n" + reasons + yours},
	"workspace.unhealthy":          {`{{workspace .}} does not answer Amazon`, `Amazon says that it is unhealthy. A reboot helps most of the time: ` + "`forge reboot {{.workspace_id}}`.\n" + reasons + yours},
	"workspace.conflict":           {`{{workspace .}} contradicts what Amazon has`, `Forge does not touch it until an admin has settled what is right.` + "\n" + reasons + yours},
	"workspace.failed":             {`{{workspace .}} could not be made`, `Nothing is charged for it.` + "\n" + reasons + yours},
	"workspace.terminated_outside": {`{{workspace .}} was terminated outside of Forge`, `Amazon does not have it any more, and nobody asked Forge. CloudTrail (TerminateWorkspaces) says who it was.` + "\n" + reasons + yours},
	"workspace.unpriced":           {`{{workspace .}} has a size without a price`, `Amazon has it as {{.bundle_type}}, which the price book has no price for: its cost is not known until one is imported.` + "\n" + reasons + "\nWhat to do: import prices (`forge prices`)."},
	"provider.hold": {
		`Nothing can be made in {{.region}}{{with .directory_id}} {{.}}{{end}}`,
		`Amazon refuses new WorkSpaces there, for a reason that an operator must settle. Requests wait, and go on by themselves.
` + reasons + `
What to do: docs/aws.md has what each code asks for, such as a quota to be raised.`,
	},
	"drift.found": {
		`Amazon has {{len .findings}} WorkSpaces otherwise than Forge wants them`,
		`{{range .findings}}  {{.kind}}  {{.provider_id}}  in {{.region}} {{.directory_id}}
{{end}}
What to do: ` + "`forge drift`" + ` says what each costs and what to do about it.`,
	},
	"drift.doubt": {
		`{{.missing}} of {{.expected}} WorkSpaces are missing in {{.directory_id}}, which is not believed`,
		`A sweep of {{.region}} {{.directory_id}} has shown too few at once. Nothing is concluded from it.

What to do: look at the directory in Amazon's console; ` + "`forge drift sweep --wait`" + ` looks again.`,
	},
	"blueprint.upgrade": {
		`The upgrade {{.upgrade}} is {{.state}}`,
		`{{with .reason}}Because: {{.}}
{{end}}
What to do: ` + "`forge blueprint upgrades show {{.upgrade}}`" + ` shows how each WorkSpace is.`,
	},
	"image.failed":  {`An image could not be made: {{.what}}`, reasons + "\nWhat to do: correct the blueprint's version, or make it again."},
	"image.waits":   {`An image waits: {{.what}}`, reasons + "\nWhat to do: what Amazon says, such as a quota, is an operator's to settle. It goes on by itself."},
	"bundle.failed": {`A bundle could not be made: {{.what}}`, reasons + "\nWhat to do: correct the blueprint's version, or make it again."},
	"bundle.waits":  {`A bundle waits: {{.what}}`, reasons + "\nWhat to do: what Amazon says, such as a quota, is an operator's to settle. It goes on by itself."},
	KindTest:        {`A test of the notifications`, `An admin has asked for this message, to see that it arrives. It did.` + "\n\nWhat to do: nothing."},
}

// KindTest is the message that `forge notifications test` sends.
const KindTest = "notification.test"

// unknown is for kinds that a newer program has written.
var unknown = words{`{{.kind}}`, "{{all .}}\nWhat to do: `forge audit list` has what happened."}

// gaps are where a text has left something out.
var gaps = regexp.MustCompile(`\n{3,}`)

// render says a message. What the payload lacks is left out.
func render(kind string, payload map[string]any, names map[string]string) (subject, body string, err error) {
	w, ok := kinds[kind]
	if !ok {
		w = unknown
		payload["kind"] = kind
	}
	funcs := template.FuncMap{
		"name": func(id any) string {
			if n := names[fmt.Sprint(id)]; n != "" {
				return n
			}
			return fmt.Sprint(id)
		},
		"workspace": func(p map[string]any) string {
			id, _ := p["workspace_id"].(string)
			if n, ok := p["name"].(string); ok && n != "" {
				return "The WorkSpace " + n
			}
			if n := names[id]; n != "" {
				return "The WorkSpace " + n
			}
			return "The WorkSpace " + id
		},
		"budget": func(p map[string]any) string {
			id := fmt.Sprint(p["scope_id"])
			if n := names[id]; n != "" {
				id = n
			}
			switch p["scope"] {
			case "ORGANISATION":
				return "The organisation's budget"
			case "USER":
				return "The budget of " + id
			}
			return "The budget of the " + strings.ToLower(fmt.Sprint(p["scope"])) + " " + id
		},
		"lower": func(s string) string { return strings.ToLower(s[:1]) + s[1:] },
		"does": func(what any) string {
			switch s := strings.ToLower(fmt.Sprint(what)); s {
			case "stop":
				return "be stopped"
			case "terminate":
				return "be terminated"
			case "flag":
				return "be marked as forgotten"
			default:
				return s
			}
		},
		"usd": func(amount any) string { // to the cent, where there is nothing smaller
			text := fmt.Sprint(amount)
			if whole, part, ok := strings.Cut(text, "."); ok && len(part) > 2 {
				text = whole + "." + part[:2] + strings.TrimRight(part[2:], "0")
			}
			return text + " USD"
		},
		"date": func(text any) string {
			t, err := time.Parse(time.RFC3339, fmt.Sprint(text))
			if err != nil {
				return fmt.Sprint(text)
			}
			return t.UTC().Format("2 January 2006, 15:04 UTC")
		},
		"changes": func(p map[string]any) string {
			var lines strings.Builder
			for _, key := range slices.Sorted(maps.Keys(p)) {
				if c, ok := p[key].(map[string]any); ok {
					fmt.Fprintf(&lines, "  %s: %v, was %v\n", key, c["to"], c["from"])
				}
			}
			return lines.String()
		},
		"all": func(p map[string]any) (string, error) {
			b, err := json.MarshalIndent(p, "", "  ")
			return string(b), err
		},
	}
	fill := func(text string) string {
		var t *template.Template
		if t, err = template.New(kind).Funcs(funcs).Parse(text); err != nil {
			return ""
		}
		var out strings.Builder
		err = t.Execute(&out, payload)
		return strings.ReplaceAll(out.String(), "<no value>", "–")
	}
	if subject = strings.Join(strings.Fields(fill(w.subject)), " "); err != nil {
		return "", "", err
	}
	if body = strings.TrimSpace(fill(w.body)); err != nil {
		return "", "", err
	}
	return subject, gaps.ReplaceAllString(body, "\n\n") + "\n", nil
}
