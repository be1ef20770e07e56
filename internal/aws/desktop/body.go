package desktop

import (
	"cmp"
	"io"
	"net/http"
)

// readBodies hides from net/http that the SDK's request bodies can write themselves. Once there is an answer, the SDK closes
// the body, and a closed one says io.EOF to WriteTo, which is an error there. When that is while net/http still looks whether
// the body goes on, it takes it for a failure to send, closes the connection, and the rest of the answer is lost: of a
// create that has been carried out, or of a list. What is read may end with io.EOF.
type readBodies struct{ next http.RoundTripper } // nil is http.DefaultTransport

func (b readBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r = r.WithContext(r.Context()) // a copy: the caller's request stays as it is
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return b.transport().RoundTrip(r)
}

// CloseIdleConnections is what http.Client looks for.
func (b readBodies) CloseIdleConnections() {
	if c, ok := b.transport().(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (b readBodies) transport() http.RoundTripper { return cmp.Or(b.next, http.DefaultTransport) }
