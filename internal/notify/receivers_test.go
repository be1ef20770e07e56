package notify_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// post is what a receiver of webhooks has been sent.
type post struct {
	id, stamp, signature, body string
}

// receiver takes posts, and answers as it is told.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	posts  []post // those it has answered with success
	tries  int
	answer func(try int, w http.ResponseWriter) bool // false: it has answered with a failure
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.tries++
		if r.answer != nil && !r.answer(r.tries, w) {
			return
		}
		r.posts = append(r.posts, post{q.Header.Get("webhook-id"), q.Header.Get("webhook-timestamp"), q.Header.Get("webhook-signature"), string(body)})
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) got() []post {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]post{}, r.posts...)
}

func (r *receiver) tried() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries
}

func (r *receiver) answers(fn func(try int, w http.ResponseWriter) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = fn
}

// failing answers with the status, whatever comes.
func failing(status int) func(int, http.ResponseWriter) bool {
	return func(_ int, w http.ResponseWriter) bool {
		w.WriteHeader(status)
		return false
	}
}

// letter is an e-mail that the server has taken.
type letter struct {
	to     string
	header mail.Header
	body   string
}

// postOffice is a real SMTP server.
type postOffice struct {
	mu         sync.Mutex
	letters    []letter
	signedIn   int
	overTLS    bool
	refuse     map[string]error // by recipient
	port       string
	roots      *x509.CertPool
	user, pass string
}

type connection struct {
	office *postOffice
	conn   *smtp.Conn
	to     string
	in     bool
}

func (o *postOffice) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &connection{office: o, conn: c}, nil
}

func (c *connection) AuthMechanisms() []string { return []string{sasl.Plain} }

func (c *connection) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != c.office.user || password != c.office.pass {
			return errors.New("wrong")
		}
		c.in = true
		c.office.mu.Lock()
		defer c.office.mu.Unlock()
		c.office.signedIn++
		return nil
	}), nil
}

func (c *connection) Mail(string, *smtp.MailOptions) error {
	if c.office.user != "" && !c.in {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (c *connection) Rcpt(to string, _ *smtp.RcptOptions) error {
	c.office.mu.Lock()
	defer c.office.mu.Unlock()
	c.to = to
	return c.office.refuse[to]
}

func (c *connection) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return err
	}
	c.office.mu.Lock()
	defer c.office.mu.Unlock()
	_, c.office.overTLS = c.conn.TLSConnectionState()
	c.office.letters = append(c.office.letters, letter{c.to, m.Header, strings.ReplaceAll(string(body), "\r\n", "\n")})
	return nil
}

func (c *connection) Reset()        {}
func (c *connection) Logout() error { return nil }

func (o *postOffice) got() []letter {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]letter{}, o.letters...)
}

// newPostOffice starts a server that speaks TLS from the first byte, or offers STARTTLS, or knows no TLS.
func newPostOffice(t *testing.T, encryption, user, password string) *postOffice {
	t.Helper()
	o := &postOffice{user: user, pass: password, refuse: map[string]error{}, roots: x509.NewCertPool()}
	s := smtp.NewServer(o)
	s.Domain, s.ReadTimeout, s.WriteTimeout, s.MaxMessageBytes = "localhost", 10*time.Second, 10*time.Second, 1<<20
	certificate := selfSigned(t, o.roots)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	switch encryption {
	case "tls":
		l = tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}})
	case "starttls":
		s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}
	}
	_, o.port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil && !errors.Is(err, smtp.ErrServerClosed) {
			t.Error(err)
		}
	})
	return o
}

func selfSigned(t *testing.T, roots *x509.CertPool) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	description := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, description, description, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: parsed}
}
