package collector

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestForeignPages: a page of another site can link to ours. It reads nothing, changes nothing, and
// has nothing of ours in a frame.
func TestForeignPages(t *testing.T) {
	x := newTestWeb(t, &httpTable{Control: true})
	link := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	for _, row := range []struct {
		method string
		want   string // "": it is answered
		header []string
	}{
		{"GET", "", nil}, {"GET", "", link}, {"HEAD", "", link}, {"POST", "another site", link},
		{"GET", "", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}},
		{"GET", "", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}},
		{"GET", "", []string{"Origin", "http://127.0.0.1:6790"}},
		{"GET", "another site", []string{"Origin", "http://evil.example"}},
		{"GET", "another site", []string{"Origin", "null"}},
		{"GET", "another site", []string{"Origin", "http://127.0.0.1:8080"}},
		{"GET", "another site", []string{"Origin", "%zz"}},
		{"GET", "another site", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}},
		{"GET", "another site", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}},
		{"GET", "another site", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}},
		{"GET", "in a frame", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}},
		{"GET", "in a frame", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Dest", "object"}},
	} {
		for _, path := range []string{"/", "/status", "/tail?from=start", "/login"} {
			code, text := asked(x, row.method, path, "127.0.0.1:6790", row.header...)
			if row.want == "" && code != 200 || row.want != "" && (code != 403 || !strings.Contains(text, row.want)) {
				t.Errorf("%s %s with %q: %d %q, want %q", row.method, path, row.header, code, text, row.want)
			}
		}
	}
	if n := testutil.ToFloat64(x.refused["frame"]); n != 8 {
		t.Errorf("%v frames are counted", n)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/none", nil)
	r.Host = "127.0.0.1"
	x.guard(http.NotFoundHandler()).ServeHTTP(w, r)
	for key, want := range map[string]string{"Content-Security-Policy": "frame-ancestors 'none'", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"} {
		if got := w.Header().Get(key); !strings.Contains(got, want) {
			t.Errorf("%s is %q", key, got)
		}
	}
}

// TestHugeHeaders: a request whose header is larger than 16 KiB, or a little more, is refused before
// it is understood.
func TestHugeHeaders(t *testing.T) {
	config, _ := granting(t, true)
	c, _ := configured(t, config)
	for _, key := range []string{"Authorization", "Cookie", "X"} {
		if code, text, _ := c.overWeb(t, "GET", "/status", key, "Bearer "+strings.Repeat("x", 8<<10)); code != 401 {
			t.Errorf("%s of 8 KiB: %d %.100q", key, code, text)
		}
		r, err := http.NewRequest("GET", c.webURL()+"/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(key, "Bearer "+strings.Repeat("x", 1<<20))
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			continue // the connection was closed while the header was sent
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s of 1 MiB: %d", key, resp.StatusCode)
		}
	}
	var cookies []string
	for i := range 100 {
		cookies = append(cookies, "Cookie", fmt.Sprintf("fanin-%s=%d", c.id(), i))
	}
	if code, text, _ := c.overWeb(t, "GET", "/status", cookies...); code != 401 {
		t.Errorf("100 cookies: %d %q", code, text)
	}
}
