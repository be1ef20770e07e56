package httpapi

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Half a report is never taken for a whole one, however little of it was sent.
func TestAReportThatCannotBeFinishedBreaksOff(t *testing.T) {
	mux := http.NewServeMux()
	api := humago.New(mux, huma.DefaultConfig("test", "1"))
	serve := func(path string, n int, breaks bool) {
		huma.Register(api, huma.Operation{OperationID: path[1:], Method: http.MethodGet, Path: path}, func(context.Context, *struct{}) (*reportAnswer, error) {
			return &reportAnswer{ContentType: "text/csv", Body: func(c huma.Context) {
				if _, err := c.BodyWriter().Write(bytes.Repeat([]byte("x"), n)); err != nil {
					t.Error(err)
				}
				if breaks {
					cutOff(c)
				}
			}}, nil
		})
	}
	serve("/whole", 1<<20, false)
	serve("/long", 1<<20, true)
	serve("/short", 10, true)
	serve("/nothing", 0, true)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { mux.ServeHTTP(&recorder{ResponseWriter: w}, r) }))
	defer server.Close()
	for path, whole := range map[string]bool{"/whole": true, "/long": false, "/short": false, "/nothing": false} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		if (err == nil) != whole {
			t.Errorf("%s: %v", path, err)
		}
	}
}
