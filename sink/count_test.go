package sink

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink/line"
)

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
	all, _ := s.Matcher(line.Filter{})
	tens, err := s.Matcher(line.Filter{Include: []string{`line \d+0 `}})
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
	waittest.Until(t, "archives", func() bool { return s.Status().Generations[2].State == stateGzip })
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
