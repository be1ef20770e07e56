package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/robco-forge/forge/internal/id"
)

// webhook posts messages to the organisation's own receiver, signed as https://www.standardwebhooks.com says.
type webhook struct {
	url     string
	secrets [][]byte
	client  *http.Client
}

// event is the body that a receiver gets.
type event struct {
	ID        string          `json:"id"`
	Type      string          `json:"type"`
	Timestamp time.Time       `json:"timestamp"` // when it happened
	UserID    id.User         `json:"user_id,omitempty"`
	TeamID    id.Team         `json:"team_id,omitempty"`
	Subject   string          `json:"subject"`
	Text      string          `json:"text"`
	Data      json.RawMessage `json:"data"`
}

func (w *webhook) send(ctx context.Context, l letter) error {
	body, err := json.Marshal(event{l.key, l.kind, l.at, l.user, l.team, l.subject, l.text, l.payload})
	if err != nil {
		return err
	}
	at := strconv.FormatInt(time.Now().Unix(), 10) // of this attempt, by the clock that the receiver has, too
	signatures := make([]string, len(w.secrets))
	for i, secret := range w.secrets {
		mac := hmac.New(sha256.New, secret)
		fmt.Fprintf(mac, "%s.%s.%s", l.key, at, body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return post(ctx, w.client, w.url, body, map[string]string{
		"webhook-id": l.key, "webhook-timestamp": at, "webhook-signature": strings.Join(signatures, " "),
	})
}

// slack posts a message to an incoming webhook of Slack's or one that speaks like it. Slack has no keys: what is sent again
// after a crash is there twice.
func (c *Channels) slack(ctx context.Context, l letter) error {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	body, err := json.Marshal(map[string]string{"text": "*" + escape.Replace(l.subject) + "*\n" + escape.Replace(l.text)})
	if err != nil {
		return err
	}
	return post(ctx, c.client, l.url, body, nil)
}

// busyError is an answer that says when to come again.
type busyError struct {
	error
	wait time.Duration
}

// mostAnswer is how much of an answer is read, in bytes.
const mostAnswer = 4 << 10

func post(ctx context.Context, client *http.Client, to string, body []byte, headers map[string]string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return errors.New("the address cannot be used")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "robco-forge")
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	answer, err := client.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) { // it has the address, which may be a secret
			err = u.Err
		}
		return err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, mostAnswer))
	switch {
	case answer.StatusCode >= 200 && answer.StatusCode < 300:
		return nil
	case err != nil:
		said = nil
	}
	failed := fmt.Errorf("the receiver answered %d: %s", answer.StatusCode, bytes.TrimSpace(said))
	switch answer.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return refusal{failed} // this message will never do, and others wait behind it
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 && seconds < 1<<20 {
			return busyError{failed, time.Duration(seconds) * time.Second}
		}
	}
	return failed
}
