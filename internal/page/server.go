// SPDX-License-Identifier: Apache-2.0

package page

import (
	"compress/gzip"
	"embed"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"
)

//go:embed static
var static embed.FS

// contentSecurity lets the page load from its own origin alone, and run no script
// that is written into it.
const contentSecurity = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Handler serves the page, for whoever brings a listener.
func (p *Page) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /events", p.data(p.events))
	for name, answer := range map[string]func(*http.Request, *snapshot) (kind string, body []byte){
		"/connections.json": p.connectionsJSON,
		"/connections.csv":  p.connectionsCSV,
		"/listeners.json":   p.listenersJSON,
		"/groups.json":      p.groupsJSON,
		"/top":              p.top,
	} {
		mux.Handle("GET "+name, p.data(p.limited(func(w http.ResponseWriter, r *http.Request) {
			p.asked()
			newest := p.current(r.Context())
			if newest == nil {
				w.Header().Set("Retry-After", "1")
				http.Error(w, "there was no scrape yet: try again in a second", http.StatusServiceUnavailable)
				return
			}
			kind, body := answer(r, newest)
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Last-Modified", newest.time.UTC().Format(http.TimeFormat))
			send(w, r, body)
		})))
	}
	mux.Handle("GET /", p.limited(p.file))
	return p.guard(mux)
}

// guard checks what must hold for every request: where it comes from, and that it
// changes nothing.
func (p *Page) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurity)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "the live page only shows: it takes GET", http.StatusMethodNotAllowed)
		case p.allowed != nil && !p.allowed(r.Host):
			// A page of the web whose name resolves to this address (DNS rebinding).
			http.Error(w, "this is the live page of another host: open it by its address or by localhost", http.StatusMisdirectedRequest)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// data refuses pages of other origins, which browsers name.
func (p *Page) data(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Sec-Fetch-Site") {
		case "", "none", "same-origin":
			next(w, r)
		default:
			http.Error(w, "pages of other origins may not read this", http.StatusForbidden)
		}
	}
}

// limited refuses more than maxRequests at a time.
func (p *Page) limited(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case p.requests <- struct{}{}:
			defer func() { <-p.requests }()
			next(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests at a time", http.StatusServiceUnavailable)
		}
	}
}

// hostCheck returns whether the page answers to a Host header. A name that anybody
// may have in DNS is not answered to, only addresses and this host's own names: who
// rebinds a name to this address sends that name.
func hostCheck(address net.Addr, endpoint, hostname string) func(string) bool {
	if address.Network() == "unix" {
		return func(string) bool { return true } // no browser gets here by itself
	}
	configured, _, err := net.SplitHostPort(endpoint)
	if err != nil {
		configured = endpoint
	}
	short, _, _ := strings.Cut(hostname, ".")
	return func(host string) bool {
		if name, port, err := net.SplitHostPort(host); err == nil {
			if _, err := strconv.ParseUint(port, 10, 16); err != nil {
				return false
			}
			host = name
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if _, err := netip.ParseAddr(host); err == nil {
			return true
		}
		host = strings.ToLower(strings.TrimSuffix(host, "."))
		switch host {
		case "":
			return false
		case "localhost", strings.ToLower(configured), strings.ToLower(hostname), strings.ToLower(short):
			return true
		}
		return strings.HasSuffix(host, ".localhost")
	}
}

// types are those of the static files.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
	".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
}

func (p *Page) file(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	if name == "" {
		name = "index.html"
	}
	body, err := fs.ReadFile(static, path.Join("static", name))
	if err != nil {
		http.Error(w, "there is no such page: /, /connections.json, /connections.csv, /listeners.json, /groups.json, /events, /top", http.StatusNotFound)
		return
	}
	kind, known := types[path.Ext(name)]
	if !known {
		kind = "text/plain; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	send(w, r, body)
}

// worthCompressing is from how many bytes on an answer is compressed.
const worthCompressing = 4 << 10

// send writes an answer, compressed if the client takes that.
func send(w http.ResponseWriter, r *http.Request, body []byte) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(3 * writeTimeout))
	w.Header().Set("Vary", "Accept-Encoding")
	if len(body) < worthCompressing || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) // the client has gone
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
	_, _ = z.Write(body)
	_ = z.Close()
}

const jsonType = "application/json"

func (p *Page) connectionsJSON(r *http.Request, n *snapshot) (string, []byte) {
	if id := r.URL.Query().Get("id"); id != "" {
		for i := range n.rows {
			if idOf(n.rows[i].ID) == id {
				return jsonType, appendRows(nil, columns(), n.rows[i:i+1])
			}
		}
		return jsonType, []byte("[]\n")
	}
	return jsonType, n.encode("connections.json", func(n *snapshot) []byte { return appendRows(nil, columns(), n.rows) })
}

func (p *Page) connectionsCSV(_ *http.Request, n *snapshot) (string, []byte) {
	return "text/csv; charset=utf-8; header=present", n.encode("connections.csv", func(n *snapshot) []byte { return csvOf(columns(), n.rows) })
}

func (p *Page) listenersJSON(_ *http.Request, n *snapshot) (string, []byte) {
	return jsonType, n.encode("listeners.json", func(n *snapshot) []byte { return appendRows(nil, listenerColumns(), n.listeners) })
}

func (p *Page) groupsJSON(_ *http.Request, n *snapshot) (string, []byte) {
	return jsonType, n.encode("groups.json", func(n *snapshot) []byte { return append(appendJSON(nil, groupsOf(n)), '\n') })
}
