package httpapi

import (
	"embed"
	"encoding/json"
	"html/template"
	"net/http"
	"strings"

	"github.com/robco-forge/forge/internal/blueprint/spec"

	"github.com/robco-forge/forge/internal/fault"
)

func (s *Server) health(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		var checks []Check
		if s.cfg.Ready != nil {
			checks = s.cfg.Ready(r.Context())
		}
		ready := true
		for _, c := range checks {
			ready = ready && c.OK
		}
		w.Header().Set("Content-Type", "application/json")
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"ready": ready, "checks": checks})
	})
}

//go:embed docs/swagger-ui-bundle.js.gz docs/swagger-ui.css.gz
var docsFiles embed.FS

const docsPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>RobCo Forge API</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="ui"></div><script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
`

const docsStart = `SwaggerUIBundle({url: "/api/v1/openapi.json", dom_id: "#ui", deepLinking: true, validatorUrl: null});
`

var problemsPage = template.Must(template.New("problems").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>RobCo Forge problems</title></head><body><h1>Problems</h1>
{{range .}}<h2 id="{{.Code}}">{{.Code}}</h2><p>{{.Kind.Status}}: {{.Message}}</p>{{if .Suggestion}}<p>What to do: {{.Suggestion}}</p>{{end}}
{{end}}</body></html>
`))

// docs serves the API's description for people, from this binary alone.
func (s *Server) docs(mux *http.ServeMux) {
	const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
	serve := func(path, kind string, body func() []byte, gzipped bool) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Type", kind)
			h.Set("Content-Security-Policy", policy)
			if gzipped {
				if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
					writeProblem(w, r, errNotAcceptable.Sayf("this file is only sent compressed; accept gzip"))
					return
				}
				h.Set("Content-Encoding", "gzip")
				h.Set("Cache-Control", "public, max-age=86400")
			}
			_, _ = w.Write(body())
		})
	}
	serve("/api/v1/schemas/blueprint.json", "application/schema+json", spec.Schema, false) // editors have no token
	text := func(s string) func() []byte { return func() []byte { return []byte(s) } }
	file := func(name string) func() []byte {
		data, err := docsFiles.ReadFile("docs/" + name)
		if err != nil {
			panic(err)
		}
		return func() []byte { return data }
	}
	serve("/docs", "text/html; charset=utf-8", text(docsPage), false)
	serve("/docs/start.js", "text/javascript; charset=utf-8", text(docsStart), false)
	serve("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8", file("swagger-ui-bundle.js.gz"), true)
	serve("/docs/swagger-ui.css", "text/css; charset=utf-8", file("swagger-ui.css.gz"), true)
	serve("/docs/problems", "text/html; charset=utf-8", func() []byte {
		var b strings.Builder
		if err := problemsPage.Execute(&b, fault.Declared()); err != nil {
			return []byte(err.Error())
		}
		return []byte(b.String())
	}, false)
}
