package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	netmail "net/mail"
	"strings"

	"github.com/wneessen/go-mail"
)

// email hands messages to the organisation's mail server.
type email struct {
	host           string
	port           int
	implicit       bool // TLS from the first byte; otherwise STARTTLS
	plain          bool // no TLS at all
	user, password string
	from           *netmail.Address
	roots          *x509.CertPool
}

func (e *email) send(ctx context.Context, l letter) error {
	m := mail.NewMsg()
	if err := m.FromFormat(e.from.Name, e.from.Address); err != nil {
		return err
	}
	if err := m.To(l.address); err != nil {
		return refusal{errors.New("the address of whom it is for is none")}
	}
	_, domain, _ := strings.Cut(e.from.Address, "@")
	m.SetMessageIDWithValue(l.key + "@" + domain)
	m.Subject(l.subject)
	m.SetDateWithValue(l.at)
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetGenHeader("X-Forge-Message", l.key)
	m.SetGenHeader("X-Forge-Kind", l.kind)
	m.SetBodyString(mail.TypeTextPlain, l.text)

	options := []mail.Option{
		mail.WithPort(e.port), mail.WithTimeout(attemptWithin), mail.WithoutNoop(),
		mail.WithTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12, ServerName: e.host, RootCAs: e.roots}),
	}
	switch {
	case e.implicit:
		options = append(options, mail.WithSSL())
	case e.plain:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if e.user != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(e.user), mail.WithPassword(e.password))
	}
	c, err := mail.NewClient(e.host, options...)
	if err != nil {
		return err
	}
	err = c.DialAndSendWithContext(ctx, m)
	var refused *mail.SendError
	// A 5xx to the address or to the text is for good. One to anything else is of the server's state.
	if errors.As(err, &refused) && refused.ErrorCode() >= 500 && (refused.Reason == mail.ErrSMTPRcptTo || refused.Reason == mail.ErrSMTPDataClose) {
		return refusal{err}
	}
	return err
}
