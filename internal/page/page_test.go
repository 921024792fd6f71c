package page

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxBytes is how large the page may be, all files together.
const maxBytes = 60 << 10

// The page is small, comes from its own files alone, and makes no markup of text.
func TestFiles(t *testing.T) {
	size := 0
	text := make(map[string]string)
	for _, name := range []string{"page.html", "page.js", "page.css"} {
		b, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		size += len(b)
		text[name] = string(b)
	}
	if size > maxBytes {
		t.Errorf("the page has %d bytes; at most %d", size, maxBytes)
	}
	markup := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc|javascript:`)
	if found := markup.FindAllString(text["page.js"]+text["page.html"], -1); len(found) > 0 {
		t.Errorf("the page makes markup or runs text: %q", found)
	}
	for name, s := range text {
		foreign := regexp.MustCompile(`(https?:)?//[a-z0-9-]+\.[a-z]`).FindAllString(strings.ReplaceAll(s, "http://www.w3.org/2000/svg", ""), -1)
		if len(foreign) > 0 {
			t.Errorf("%s names other sites: %q", name, foreign)
		}
	}
	if regexp.MustCompile(`<script>|<style|\sstyle=|\son[a-z]+=`).MatchString(text["page.html"]) {
		t.Error("page.html has a script or a style inside: the policy refuses it")
	}
}

// Each id that the script asks for is in the page, once.
func TestIDs(t *testing.T) {
	html, _ := files.ReadFile("page.html")
	js, _ := files.ReadFile("page.js")
	ids := make(map[string]int)
	for _, m := range regexp.MustCompile(`\sid="([^"]+)"`).FindAllStringSubmatch(string(html), -1) {
		ids[m[1]]++
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("id %s is there %d times", id, n)
		}
	}
	asked := regexp.MustCompile(`\$\('([^']+)'\)`).FindAllStringSubmatch(string(js), -1)
	if len(asked) < 30 {
		t.Errorf("%d ids are asked for: is the expression right?", len(asked))
	}
	for _, m := range asked {
		if ids[m[1]] == 0 && m[1] != "log" { // made with its table
			t.Errorf("page.js asks for id %s, which page.html does not have", m[1])
		}
	}
}

func TestHeaders(t *testing.T) {
	routes := Routes()
	if got := slices.Sorted(maps.Keys(routes)); !slices.Equal(got, []string{"GET /page.css", "GET /page.js", "GET /{$}"}) {
		t.Errorf("routes: %q", got)
	}
	mux := http.NewServeMux()
	for pattern, h := range routes {
		mux.Handle(pattern, h)
	}
	get := func(path, tag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("If-None-Match", tag)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w
	}
	for path, kind := range map[string]string{"/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css"} {
		w := get(path, "")
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		policy := w.Header().Get("Content-Security-Policy")
		for _, must := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'",
			"frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(policy, must) {
				t.Errorf("%s: the policy lacks %s: %s", path, must, policy)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("%s: %s", path, policy)
		}
		for header, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"X-Frame-Options": "DENY", "Cross-Origin-Resource-Policy": "same-origin"} {
			if got := w.Header().Get(header); got != want {
				t.Errorf("%s: %s is %q", path, header, got)
			}
		}
		if again := get(path, w.Header().Get("ETag")); again.Code != 304 || again.Body.Len() > 0 {
			t.Errorf("%s again: %d, %d bytes", path, again.Code, again.Body.Len())
		}
	}
	if w := get("/other", ""); w.Code != 404 {
		t.Errorf("/other: %d", w.Code)
	}
}
