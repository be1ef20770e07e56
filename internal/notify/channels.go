package notify

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/mail"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Settings are the channels as the operator gives them. What is empty is not used.
type Settings struct {
	// SMTPURL is smtps://user:password@host:465, or smtp://user:password@host:587, which must offer STARTTLS. With
	// ?tls=none at the end nothing is encrypted, and nobody signs in.
	SMTPURL  string
	SMTPFrom string // "RobCo Forge <forge@example.com>"
	// WebhookURL gets every message, signed with each of the secrets: two while one replaces the other.
	WebhookURL     string
	WebhookSecrets []string // "whsec_" and base64 of 24 to 64 bytes
	// SlackURL gets every message, and TeamSlackURLs those of one team: "backend=https://hooks.slack.com/…".
	SlackURL      string
	TeamSlackURLs []string
	// GiveUpAfter is how long a message is tried; 0 is GiveUpAfter.
	GiveUpAfter time.Duration
	// Roots are the authorities that servers are believed by; nil: the system's.
	Roots *x509.CertPool
}

// Channels are the ways to people that are configured.
type Channels struct {
	email       *email
	webhook     *webhook
	slackURL    string
	teamSlack   map[string]string // by the name of the team
	client      *http.Client
	giveUpAfter time.Duration
}

func (c *Channels) configured() []string {
	all := []string{}
	if c.email != nil {
		all = append(all, Email)
	}
	if c.webhook != nil {
		all = append(all, Webhook)
	}
	if c.slackURL != "" || len(c.teamSlack) > 0 {
		all = append(all, Slack)
	}
	return all
}

// Open checks the settings, and says everything that is wrong with them.
func (s Settings) Open() (*Channels, error) {
	c := &Channels{teamSlack: map[string]string{}, giveUpAfter: s.GiveUpAfter, client: httpClient(s.Roots)}
	var wrong []error
	if c.giveUpAfter == 0 {
		c.giveUpAfter = GiveUpAfter
	}
	if c.giveUpAfter < time.Minute {
		wrong = append(wrong, errors.New("--notify-give-up-after is a minute or more"))
	}
	var err error
	if c.email, err = s.email(); err != nil {
		wrong = append(wrong, err)
	}
	if c.webhook, err = s.webhook(c.client); err != nil {
		wrong = append(wrong, err)
	}
	if s.SlackURL != "" {
		if err := checkURL(s.SlackURL); err != nil {
			wrong = append(wrong, fmt.Errorf("--slack-url: %w", err))
		}
		c.slackURL = s.SlackURL
	}
	for _, both := range s.TeamSlackURLs {
		team, to, ok := strings.Cut(both, "=")
		if !ok || team == "" {
			wrong = append(wrong, errors.New("--slack-team-url is TEAM=URL"))
			continue
		}
		if err := checkURL(to); err != nil {
			wrong = append(wrong, fmt.Errorf("--slack-team-url of %s: %w", team, err))
		}
		c.teamSlack[team] = to
	}
	return c, errors.Join(wrong...)
}

// checkURL lets an address pass that may be sent to: encrypted, or on this machine. Its error does not repeat it: such an
// address may be a secret.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return errors.New("that is not an address like https://host/path")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !local(u.Hostname())) {
		return errors.New("the address must begin with https://; http:// is for this machine only")
	}
	return nil
}

func local(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

func (s Settings) email() (*email, error) {
	if s.SMTPURL == "" && s.SMTPFrom == "" {
		return nil, nil
	}
	from, err := mail.ParseAddress(s.SMTPFrom)
	if err != nil {
		return nil, errors.New("--smtp-from is an address like Forge <forge@example.com>, and goes with --smtp-url")
	}
	u, err := url.Parse(s.SMTPURL)
	if err != nil || u.Hostname() == "" || u.Path != "" && u.Path != "/" {
		return nil, errors.New("--smtp-url is like smtp://user:password@host:587 or smtps://user:password@host:465")
	}
	e := &email{host: u.Hostname(), port: 587, from: from, roots: s.Roots, user: u.User.Username()}
	e.password, _ = u.User.Password()
	switch u.Scheme {
	case "smtps":
		e.port, e.implicit = 465, true
	case "smtp":
	default:
		return nil, errors.New("--smtp-url begins with smtp:// or smtps://")
	}
	switch q := u.Query(); {
	case len(q) == 0:
	case len(q) == 1 && q.Get("tls") == "none" && !e.implicit && e.user == "":
		e.plain, e.port = true, 25
	default:
		return nil, errors.New("--smtp-url takes ?tls=none only, with smtp:// and without a user: a password is never sent unencrypted")
	}
	if p := u.Port(); p != "" {
		if e.port, err = strconv.Atoi(p); err != nil || e.port < 1 || e.port > 65535 {
			return nil, errors.New("--smtp-url has a port that is none")
		}
	}
	return e, nil
}

const (
	secretPrefix = "whsec_"
	fewestBytes  = 24
	mostBytes    = 64
	mostSecrets  = 2
)

func (s Settings) webhook(client *http.Client) (*webhook, error) {
	if s.WebhookURL == "" && len(s.WebhookSecrets) == 0 {
		return nil, nil
	}
	if err := checkURL(s.WebhookURL); err != nil {
		return nil, fmt.Errorf("--webhook-url: %w", err)
	}
	if n := len(s.WebhookSecrets); n == 0 || n > mostSecrets {
		return nil, errors.New("--webhook-secret is one secret, or two while one replaces the other")
	}
	w := &webhook{url: s.WebhookURL, client: client}
	for _, text := range s.WebhookSecrets {
		encoded, ok := strings.CutPrefix(text, secretPrefix)
		secret, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(secret) < fewestBytes || len(secret) > mostBytes {
			return nil, errors.New("--webhook-secret is whsec_ and base64 of 24 to 64 random bytes, such as: echo whsec_$(openssl rand -base64 32)")
		}
		w.secrets = append(w.secrets, secret)
	}
	return w, nil
}

// httpClient goes where it is told and nowhere else: no redirect, no proxy of the environment's, and no waiting.
func httpClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout: attemptWithin,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
