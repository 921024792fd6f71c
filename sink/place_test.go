package sink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
)

// manyFiles makes a log of several files, some of them compressed, whose line
// i was read i seconds after begin, and returns where each line stands.
func manyFiles(t *testing.T, begin time.Time) (s *Sink, places []Position) {
	t.Helper()
	s = open(t, &Sink{Sync: syncNone})
	for i := range 600 {
		err := s.Append(context.Background(), wire.Batch{Host: "web", Source: "app", Input: "tcp", Time: begin.Add(time.Duration(i) * time.Second).UnixMicro(),
			Text: fmt.Appendf(nil, "line %d %s\n", i, strings.Repeat("x", rand.IntN(2000)))})
		if err != nil {
			t.Fatal(err)
		}
		if i%150 == 149 {
			if _, err := s.Rotate(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	waitFor(t, "archives", func() bool { return s.Status().Generations[2].State == stateGzip })
	r := s.Reader(Position{})
	defer r.Close()
	for {
		text, at, err := r.Read(context.Background(), make([]byte, 10_000))
		if err != nil {
			t.Fatal(err)
		}
		if text == nil {
			break
		}
		for line := range strings.Lines(string(text)) {
			places = append(places, at)
			at.Offset += int64(len(line))
		}
	}
	if len(places) != 600 {
		t.Fatalf("%d lines", len(places))
	}
	return s, append(places, s.End())
}

// TestCount counts between any two lines, and the distance is what it is.
func TestCount(t *testing.T) {
	s, places := manyFiles(t, time.Now())
	for range 300 {
		i := rand.IntN(len(places))
		j := i + rand.IntN(len(places)-i)
		n, exact, err := s.Count(context.Background(), places[i], places[j])
		if err != nil || !exact || n != uint64(j-i) {
			t.Fatalf("from line %d to %d, %s to %s: %d, %v, %v", i, j, places[i], places[j], n, exact, err)
		}
	}
	if err := s.Checkpoint(context.Background()); err != nil { // all is in the ledgers now
		t.Fatal(err)
	}
	for _, pair := range [][2]int{{0, 600}, {3, 597}, {149, 151}, {300, 300}} {
		if n, exact, err := s.Count(context.Background(), places[pair[0]], places[pair[1]]); err != nil || !exact || n != uint64(pair[1]-pair[0]) {
			t.Errorf("%v: %d, %v, %v", pair, n, exact, err)
		}
	}
	sum := int64(0)
	for _, g := range s.Status().Generations {
		sum += g.Size
	}
	if d := s.Distance(places[0], s.End()); d != sum {
		t.Errorf("distance %d, the files have %d bytes", d, sum)
	}
}

// TestBack finds where the last lines begin, with a filter and without.
func TestBack(t *testing.T) {
	s, places := manyFiles(t, time.Now())
	all, _ := s.Matcher(Filter{})
	tens, err := s.Matcher(Filter{Include: []string{`line \d+0 `}})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 2, 10, 149, 150, 151, 450, 599, 600, 1000} {
		at, err := s.Back(context.Background(), s.End(), n, all, 1<<40)
		if want := places[max(0, 600-n)]; err != nil || at != want {
			t.Errorf("the last %d lines begin at %s, %v; want %s", n, at, err, want)
		}
		at, err = s.Back(context.Background(), s.End(), n, tens, 1<<40)
		if want := places[max(0, 600-10*n)]; err != nil || at != want {
			t.Errorf("the last %d tens begin at %s, %v; want %s", n, at, err, want)
		}
	}
	if at, err := s.Back(context.Background(), s.End(), 600, all, 100_000); err != nil || s.Distance(at, s.End()) < 100_000 || s.Distance(at, s.End()) > 250_000 {
		t.Errorf("with a bound of 100,000 bytes: %s, %d before the end, %v", at, s.Distance(at, s.End()), err)
	}
}

// TestPlace finds places by time, and refuses what is none.
func TestPlace(t *testing.T) {
	begin := time.Now().Add(-600 * time.Second).Truncate(time.Second)
	s, places := manyFiles(t, begin)
	// The files were all closed just now, so times are found in the oldest ledger
	// that has them.
	for _, i := range []int{0, 1, 149} {
		at, err := s.Place(context.Background(), begin.Add(time.Duration(i)*time.Second).UTC().Format(time.RFC3339))
		if err != nil || at != places[i] {
			t.Errorf("line %d: %s, %v; want %s", i, at, err, places[i])
		}
	}
	for _, i := range []int{150, 299, 300, 449} { // closed before: not even looked into
		at, err := s.Place(context.Background(), begin.Add(time.Duration(i)*time.Second).UTC().Format(time.RFC3339))
		if err != nil || at != places[i] {
			t.Errorf("line %d: %s, %v; want %s", i, at, err, places[i])
		}
	}
	for from, want := range map[string]Position{"start": places[0], "end": s.End(), "": s.End(), "1d": places[0], "24h": places[0], places[77].String(): places[77]} {
		if at, err := s.Place(context.Background(), from); err != nil || at != want {
			t.Errorf("%q: %s, %v; want %s", from, at, err, want)
		}
	}
	for _, from := range []string{"yesterday", "-5m", "10", "2026-11-22", "1:", "5 m"} {
		if at, err := s.Place(context.Background(), from); !errors.Is(err, ErrNoPlace) {
			t.Errorf("%q: %s, %v", from, at, err)
		}
	}
	for _, from := range []string{"99:0", "1:999999999"} {
		if at, err := s.Place(context.Background(), from); !errors.Is(err, ErrNoPosition) {
			t.Errorf("%q: %s, %v", from, at, err)
		}
	}
}

// TestFilter chooses by all that a line shows, in each format.
func TestFilter(t *testing.T) {
	line := map[string]string{
		"syslog": "2026-11-22T17:00:00.123456Z web01 nginx: GET /a: 404",
		"json":   `{"ObservedTimestamp":"2026-11-22T17:00:00.123456Z","host.name":"web01","service.name":"nginx","Body":"GET /a: 404"}`,
	}
	at := time.Date(2026, 11, 22, 17, 0, 0, 123456000, time.UTC)
	for format, line := range line {
		s := &Sink{Format: format}
		f := s.Parts([]byte(line + "\n"))
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
				m, err := s.Matcher(filter)
				if err != nil || m.Match([]byte(line+"\n")) != want || m.Match([]byte(line)) != want {
					t.Errorf("%s: %+v: %v; want %v", format, filter, err, want)
				}
			}
		}
	}
	raw := &Sink{Format: "raw"}
	if _, err := raw.Matcher(Filter{Host: []string{"x"}}); err == nil {
		t.Error("a log without hosts chooses by host")
	}
	if m, err := raw.Matcher(Filter{Include: []string{"^a"}}); err != nil || !m.Match([]byte("abc\n")) || m.Match([]byte("bca\n")) {
		t.Errorf("raw: %v", err)
	}
	for _, f := range []Filter{{Include: []string{"("}}, {Include: make([]string, MaxPatterns+1)}, {Exclude: []string{strings.Repeat("a", MaxPattern+1)}}, {Host: []string{strings.Repeat("a", MaxPattern+1)}},
		{Include: []string{"((a{100}){100}){100}"}}} {
		if _, err := raw.Matcher(f); err == nil {
			t.Errorf("%.80v is taken", f)
		}
	}
	// No expression takes longer than in proportion to the line.
	m, err := raw.Matcher(Filter{Include: []string{"(a*)*b"}})
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
			p := (&Sink{Format: format}).Parts(line)
			if n := len(p.Time) + len(p.Host) + len(p.Source) + len(p.Body); n > len(line) {
				t.Errorf("%s: %d bytes of parts in %d", format, n, len(line))
			}
		}
	})
}
