// Package page is the collector's web page: three files, embedded as they are, without a
// build step and without anything from elsewhere. The page shows what the collector's own
// requests answer, so it can do nothing that curl could not.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"time"
)

//go:embed page.html page.js page.css
var files embed.FS

// Routes are the handlers of the page's files, by the pattern of an http.ServeMux.
func Routes() map[string]http.Handler {
	return map[string]http.Handler{
		"GET /{$}":      newFile("page.html", "text/html; charset=utf-8"),
		"GET /page.js":  newFile("page.js", "text/javascript; charset=utf-8"),
		"GET /page.css": newFile("page.css", "text/css; charset=utf-8"),
	}
}

// Headers sets what a browser must know about every answer of the collector:
//
//   - nothing in it may run, or be loaded, but scripts and styles of the collector's own
//     files. Text of the log that got into a page as markup would do nothing;
//   - scripts cannot make markup of text at all (trusted types);
//   - no other page may put it in a frame, nor read it as a script or an image;
//   - the content is of the type that it says, and other sites learn no address of ours.
func Headers(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "+
		"img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "+
		"require-trusted-types-for 'script'; trusted-types 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // for browsers without frame-ancestors
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// file is one of the page's files. It is served with a tag of its content: browsers ask
// each time, and get the file only if it has changed, as after an upgrade.
type file struct {
	name string
	kind string
	tag  string
	text []byte
}

func newFile(name, kind string) *file {
	text, err := files.ReadFile(name)
	if err != nil {
		text = []byte(err.Error()) // cannot be: the compiler embeds it
	}
	sum := sha256.Sum256(text)
	return &file{name, kind, `"` + hex.EncodeToString(sum[:8]) + `"`, text}
}

// ServeHTTP answers with the file.
func (f *file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	Headers(w.Header())
	w.Header().Set("Content-Type", f.kind)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("ETag", f.tag)
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.text))
}
