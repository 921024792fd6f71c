package line

import (
	"strings"
	"testing"
	"time"
)

// TestFilter chooses by all that a line shows, in each format.
func TestFilter(t *testing.T) {
	line := map[string]string{
		"syslog": "2026-11-22T17:00:00.123456Z web01 nginx: GET /a: 404",
		"json":   `{"ObservedTimestamp":"2026-11-22T17:00:00.123456Z","host.name":"web01","service.name":"nginx","Body":"GET /a: 404"}`,
	}
	at := time.Date(2026, 11, 22, 17, 0, 0, 123456000, time.UTC)
	for format, line := range line {
		f := Parse(format, []byte(line+"\n"))
		if string(f.Time) != Stamp(at) || string(f.Host) != "web01" || string(f.Source) != "nginx" || string(f.Body) != "GET /a: 404" {
			t.Errorf("%s: %q", format, f)
		}
		for want, filters := range map[bool][]Filter{
			true: {{}, {Host: []string{"web01"}}, {Host: []string{"db", "web*"}}, {Source: []string{"ngin?"}}, {Include: []string{"GET", "404"}}, {Exclude: []string{"POST"}},
				{Since: at}, {Since: at.Add(-time.Hour)}},
			false: {{Host: []string{"web"}}, {Host: []string{"web0"}}, {Source: []string{"ngin"}}, {Include: []string{"GET", "500"}}, {Exclude: []string{"POST", "GET"}},
				{Since: at.Add(time.Microsecond)}, {Host: []string{"w.b01"}}},
		} {
			for _, filter := range filters {
				m, err := NewMatcher(format, filter)
				if err != nil || m.Match([]byte(line+"\n")) != want || m.Match([]byte(line)) != want {
					t.Errorf("%s: %+v: %v; want %v", format, filter, err, want)
				}
			}
		}
	}
	if _, err := NewMatcher("raw", Filter{Host: []string{"x"}}); err == nil {
		t.Error("a log without hosts chooses by host")
	}
	if m, err := NewMatcher("raw", Filter{Include: []string{"^a"}}); err != nil || !m.Match([]byte("abc\n")) || m.Match([]byte("bca\n")) {
		t.Errorf("raw: %v", err)
	}
	for _, f := range []Filter{{Include: []string{"("}}, {Include: make([]string, MaxPatterns+1)}, {Exclude: []string{strings.Repeat("a", MaxPattern+1)}}, {Host: []string{strings.Repeat("a", MaxPattern+1)}},
		{Include: []string{"((a{100}){100}){100}"}}} {
		if _, err := NewMatcher("raw", f); err == nil {
			t.Errorf("%.80v is taken", f)
		}
	}
	// No expression takes longer than in proportion to the line.
	m, err := NewMatcher("raw", Filter{Include: []string{"(a*)*b"}})
	if err != nil || m.Match([]byte(strings.Repeat("a", 100_000))) {
		t.Errorf("an expression that others explode on: %v", err)
	}
}

// FuzzParts: whatever others write into the file, it is taken apart without harm,
// and the parts lie within it.
func FuzzParts(f *testing.F) {
	for _, line := range []string{"", "x", "2026-11-22T17:00:00.123456Z web01 nginx: GET", "2026-11-22T17:00:00.123456Z  : ", `{"ObservedTimestamp":"`, `{"ObservedTimestamp":"","host.name":"","service.name":"","Body":""}`} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		for _, format := range []string{"syslog", "json", "raw"} {
			p := Parse(format, line)
			if n := len(p.Time) + len(p.Host) + len(p.Source) + len(p.Body); n > len(line) {
				t.Errorf("%s: %d bytes of parts in %d", format, n, len(line))
			}
		}
	})
}
