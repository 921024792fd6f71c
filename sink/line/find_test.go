package line

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestRequired: what is looked for before each line is in every line that matches.
func TestRequired(t *testing.T) {
	for expression, want := range map[string]string{
		`order 4711`: "order 4711", `^GET /(a|b)/index\.html$`: "/index.html", `(?i)error`: "", `a|b`: "",
		`timeout=\d+ms`: "timeout=", `(connection) reset`: "connection", `x*yz+`: "y", `(abc)+`: "abc",
		`(abc){0,3}d`: "d", `(abc){2,}`: "abc", "\uFFFDab": "", `a.b`: "a", ``: "", `ab\bcde`: "cde",
		strings.Repeat("x", 100): strings.Repeat("x", 100), `abc|abd`: "ab",
	} {
		if got := required(expression); got != want {
			t.Errorf("%q: %q, want %q", expression, got, want)
		}
	}
	for _, c := range []struct {
		format string
		f      Filter
		want   string
	}{
		{"syslog", Filter{Host: []string{"web-1"}}, " web-1 "},
		{"syslog", Filter{Host: []string{"web-*"}}, " web-"},
		{"syslog", Filter{Host: []string{"*"}}, ""},
		{"syslog", Filter{Host: []string{""}}, ""},
		{"syslog", Filter{Host: []string{"a", "b"}}, ""},
		{"syslog", Filter{Source: []string{"nginx"}, Include: []string{"abc"}}, " nginx: "},
		{"json", Filter{Source: []string{"nginx"}}, `"service.name":"nginx"`},
		{"raw", Filter{Include: []string{"abc", "de"}}, "abc"},
	} {
		m, err := NewMatcher(c.format, c.f)
		if err != nil || string(m.literal) != c.want {
			t.Errorf("%+v: %q, %v; want %q", c.f, m.literal, err, c.want)
		}
	}
}

// found returns the lines that Find finds, and those that Match chooses one by one.
func found(m *Matcher, text []byte) (got, want []string) {
	m.Find(text, func(begin, end int) bool {
		got = append(got, string(text[begin:end]))
		return true
	})
	for l := range bytes.Lines(text) {
		if m.Match(l) {
			want = append(want, string(l))
		}
	}
	return got, want
}

// TestFind: searching a text at once finds what looking at each line finds.
func TestFind(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	words := []string{"error", "err", " ", "web-1", "order", "nginx", ":", "x", "ör", "\xff", "4711", "\"", "\n"}
	expressions := []string{`x\n`, `\nerr`, "r\no", "error", "err.r", "(?i)ERROR", "order.*4711", "^2026", "x$", "ö", "[0-9]+", "", "a|x", "(err)+or", "\uFFFD"}
	for range 3000 {
		format := []string{"syslog", "json", "raw"}[rnd.IntN(3)]
		var text []byte
		for range rnd.IntN(30) {
			var b strings.Builder
			for range rnd.IntN(8) {
				b.WriteString(words[rnd.IntN(len(words)-1)])
			}
			switch host := fmt.Sprint("web-", rnd.IntN(3)); {
			case rnd.IntN(10) == 0 || format == "raw":
				text = fmt.Appendf(text, "%s\n", b.String())
			case format == "syslog":
				text = fmt.Appendf(text, "2026-11-22T17:00:00.123456Z %s nginx: %s\n", host, b.String())
			default:
				text = fmt.Appendf(text, `{"ObservedTimestamp":"2026-11-22T17:00:00.123456Z","host.name":"%s","service.name":"nginx","Body":"%s"}`+"\n",
					host, b.String())
			}
		}
		var f Filter
		for range rnd.IntN(3) {
			f.Include = append(f.Include, expressions[rnd.IntN(len(expressions))])
		}
		if rnd.IntN(3) == 0 {
			f.Exclude = []string{expressions[rnd.IntN(len(expressions))]}
		}
		if rnd.IntN(2) == 0 && format != "raw" {
			f.Host = [][]string{{"web-1"}, {"web*"}, {"*"}, {"we?-2"}, {""}, {"web-1", "web-2"}}[rnd.IntN(6)]
			f.Source = [][]string{nil, {"nginx"}, {"*x"}, {""}}[rnd.IntN(4)]
		}
		m, err := NewMatcher(format, f)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := found(m, text); !slices.Equal(got, want) {
			t.Fatalf("%s %+v, %q: found\n%q\nwant\n%q", format, f, m.literal, got, want)
		}
	}
}

// FuzzRequired: for every expression, a line that matches contains what is looked for.
func FuzzRequired(f *testing.F) {
	f.Add(`order (\d+)`, "an order 17")
	f.Add(`(?i)a{2,3}b|c`, "AAb")
	f.Add("\uFFFD", "\xff")
	f.Add(`x*y+z?`, "y")
	f.Fuzz(func(t *testing.T, expression, text string) {
		re, err := regexp.Compile(expression)
		if err != nil || len(expression) > MaxPattern || !re.MatchString(text) {
			return
		}
		if literal := required(expression); !strings.Contains(text, literal) {
			t.Errorf("%q matches %q, which does not contain %q", expression, text, literal)
		}
	})
}
