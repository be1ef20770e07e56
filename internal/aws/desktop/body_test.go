package desktop

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	smithyhttp "github.com/aws/smithy-go/transport/http"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A body of the SDK's that is closed while it is sent must end, and not fail.
func TestABodyThatTheSDKClosesIsAtItsEnd(t *testing.T) {
	stream, err := smithyhttp.NewStackRequest().(*smithyhttp.Request).SetStream(bytes.NewReader([]byte(`{"Workspaces":[]}`)))
	if err != nil {
		t.Fatal(err)
	}
	in := stream.Build(t.Context())
	if _, ok := in.Body.(io.WriterTo); !ok {
		t.Fatal("the SDK's bodies do not write themselves any more: readBodies has nothing to hide")
	}
	sent := false
	client := sendOnce(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		sent = true
		if _, ok := r.Body.(io.WriterTo); ok {
			t.Error("the body writes itself")
		}
		if err := in.Body.Close(); err != nil {
			t.Error(err)
		}
		if n, err := io.Copy(io.Discard, r.Body); n != 0 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})})
	res, err := client.Do(in)
	if err != nil || !sent {
		t.Fatal(sent, err)
	}
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
}
