package sink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/disk"
	"fanin/internal/waittest"
)

// readBodies reads so many lines of the source "app", and checks that each text
// begins where the one before ended.
func readBodies(t *testing.T, r *Reader, n int) (got []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	buf := make([]byte, 64<<10)
	for len(got) < n {
		text, at, err := r.Next(ctx, buf)
		if err != nil {
			t.Fatalf("after %d of %d lines, at %s: %v", len(got), n, r.At(), err)
		}
		if end := (Position{at.Generation, at.Offset + int64(len(text))}); end != r.At() || text[len(text)-1] != '\n' {
			t.Fatalf("%d bytes at %s, and the reader is at %s", len(text), at, r.At())
		}
		for line := range strings.Lines(string(text)) {
			if _, body, ok := strings.Cut(line, " web app: "); ok {
				got = append(got, strings.TrimSuffix(body, "\n"))
			}
		}
	}
	return got
}

// TestReader: readers that begin at the start, while lines come and afterwards,
// see the same lines in the same order, whatever the files become meanwhile.
func TestReader(t *testing.T) {
	for _, compress := range []string{"none", "gzip"} {
		s := open(t, &Sink{Retention: RetentionPolicy{Compress: compress}, Sync: syncNone})
		src := newSource()
		const lines = 3000
		live := s.Reader(Position{})
		defer live.Close()
		done := make(chan []string, 1)
		go func() { done <- readBodies(t, live, lines) }() // ends with the lines, or in time
		var want []string
		for i := range lines {
			line := fmt.Sprintf("line %d %s", i, strings.Repeat("x", rand.IntN(300)))
			want = append(want, line)
			src.send(t, s, line)
			if i%500 == 499 {
				if _, err := s.Rotate(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
		}
		same(t, "while lines came", <-done, want)
		if compress == "gzip" {
			waittest.Until(t, "archives", func() bool {
				all := s.Status().Generations
				return len(all) > 5 && all[4].State == stateGzip
			})
		}
		r := s.Reader(Position{})
		defer r.Close()
		same(t, "afterwards", readBodies(t, r, lines), want)
		if text, _, err := r.Read(context.Background(), make([]byte, 4096)); text != nil || err != nil || r.At() != s.End() {
			t.Errorf("at the end: %q, %v; the reader is at %s, the log ends at %s", text, err, r.At(), s.End())
		}
	}
}

func same(t *testing.T, when string, got, want []string) {
	t.Helper()
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("%s: %d lines; line %d is not what it should be", when, len(got), i)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d lines, want %d", when, len(got), len(want))
	}
}

// TestReaderAt: each place at which a text began is a place to begin.
func TestReaderAt(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
	src := newSource()
	var places []Position
	for i := range 40 {
		src.send(t, s, fmt.Sprint("line ", i))
		if i%9 == 8 {
			s.Rotate(context.Background())
		}
	}
	expectSuffix(t, s, "line 39")
	r := s.Reader(Position{})
	defer r.Close()
	for r.At() != s.End() {
		_, at, err := r.Next(context.Background(), make([]byte, 4096))
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, at)
	}
	if len(places) < 4 {
		t.Fatalf("%d places", len(places))
	}
	for i, at := range places {
		parsed, err := ParsePosition(at.String())
		if err != nil || parsed != at {
			t.Errorf("%s is read as %s, %v", at, parsed, err)
		}
		from := s.Reader(at)
		got := readBodies(t, from, 40-9*i)
		if got[0] != fmt.Sprint("line ", 9*i) {
			t.Errorf("at %s: %q", at, got[0])
		}
		from.Close()
	}
}

// TestReaderWaits: at the end it waits, for a line, for the context, for the end
// of the log.
func TestReaderWaits(t *testing.T) {
	s := open(t, &Sink{})
	src := newSource()
	r := s.Reader(s.End())
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	outcome := make(chan error, 1)
	next := func() { _, _, err := r.Next(ctx, make([]byte, 4096)); outcome <- err }
	go next() // ends below
	src.send(t, s, "one")
	if err := <-outcome; err != nil {
		t.Error(err)
	}
	go next() // ends below
	cancel()
	if err := <-outcome; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	ctx = context.Background()
	go next() // ends below
	s.Close(context.Background())
	if err := <-outcome; err == nil {
		t.Error("a reader of a closed log waits no more")
	}
}

// TestReaderGaps: what retention removed, and what another process deleted, is told
// once, and reading goes on behind it.
func TestReaderGaps(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none", Files: 2}})
	src := newSource()
	first := s.End()
	for i := range 6 {
		src.send(t, s, fmt.Sprint("line ", i))
		s.Rotate(context.Background())
	}
	waittest.Until(t, "retention", func() bool { return len(s.Status().Generations) == 3 })
	r := s.Reader(first)
	defer r.Close()
	_, _, err := r.Next(context.Background(), make([]byte, 4096))
	var gone *GoneError
	if !errors.As(err, &gone) || gone.From != first || gone.To != r.At() || gone.To.Offset != 0 {
		t.Fatalf("got %v", err)
	}
	same(t, "behind the gap", readBodies(t, r, 2), []string{"line 4", "line 5"})
	src.send(t, s, "line 6")
	expectSuffix(t, s, "line 6")
	os.Remove(filepath.Join(filepath.Dir(s.Path), s.Status().Generations[0].Name))
	from := s.Reader(Position{s.Status().Generations[0].Number, 0})
	defer from.Close()
	if _, _, err := from.Next(context.Background(), make([]byte, 4096)); !errors.As(err, &gone) {
		t.Fatalf("got %v", err)
	}
	same(t, "behind what was deleted", readBodies(t, from, 2), []string{"line 5", "line 6"})
}

// TestReaderRefuses places that never were.
func TestReaderRefuses(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
	src := newSource()
	src.send(t, s, "one")
	s.Rotate(context.Background())
	src.send(t, s, "two")
	expectSuffix(t, s, "two")
	end := s.End()
	for _, at := range []Position{{end.Generation, end.Offset + 1}, {end.Generation + 1, 0}, {end.Generation - 1, 1 << 40}} {
		r := s.Reader(at)
		if _, _, err := r.Next(context.Background(), make([]byte, 4096)); !errors.Is(err, ErrNoPosition) {
			t.Errorf("%s: %v", at, err)
		}
		r.Close()
	}
	for _, text := range []string{"", "1", ":", "1:", ":1", "1:-1", "-1:1", "01:1", "1:1 ", "1:1:1", "1:99999999999999999999"} {
		if p, err := ParsePosition(text); err == nil {
			t.Errorf("%q is read as %s", text, p)
		}
	}
}

// TestReaderOddFiles: a line longer than a read, and a last line without its end
// that another process left.
func TestReaderOddFiles(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
	src := newSource()
	long := strings.Repeat("\x01", 1<<20) // laid out, four bytes each
	src.send(t, s, "short")
	src.send(t, s, long[:1<<20-1])
	src.send(t, s, "end")
	expectSuffix(t, s, "end")
	f, err := os.OpenFile(s.Path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("of others, without an end")
	f.Close()
	src.send(t, s, "after")
	r := s.Reader(Position{})
	defer r.Close()
	var got []string
	foreign := false
	for len(got) < 4 {
		text, _, err := r.Next(context.Background(), make([]byte, 4096))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			foreign = foreign || line == "of others, without an end\n" // which the reader gave it
			if _, body, ok := strings.Cut(line, " web app: "); ok {
				got = append(got, strings.TrimSuffix(body, "\n"))
			}
		}
	}
	if !foreign || got[0] != "short" || len(got[1]) != 4*(1<<20-1) || got[2] != "end" || got[3] != "after" {
		t.Errorf("read %.40q, others' line %v", got, foreign)
	}
}

// TestReaderOfDeletedFile: what went into a file that had just been deleted is
// committed again, into the next one; who still has the old one open reads it once.
func TestReaderOfDeletedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.log")
	var armed atomic.Bool
	s := open(t, &Sink{Path: path, Retention: RetentionPolicy{Compress: "none"}, Disk: &disk.Disk{Fault: func(op disk.Op, p string) (int, error) {
		if op == disk.OpWrite && p == path && armed.CompareAndSwap(true, false) {
			return 0, os.Remove(path)
		}
		return 0, nil
	}}})
	src := newSource()
	src.send(t, s, "one")
	r := s.Reader(Position{})
	defer r.Close()
	same(t, "before", readBodies(t, r, 1), []string{"one"})
	armed.Store(true)
	src.send(t, s, "two")
	src.send(t, s, "three")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var got []string
	for len(got) == 0 || got[len(got)-1] != "three" {
		text, _, err := r.Next(ctx, make([]byte, 4096))
		var gone *GoneError
		if err != nil && !errors.As(err, &gone) {
			t.Fatalf("after %q: %v", got, err)
		}
		for line := range strings.Lines(string(text)) {
			if _, body, ok := strings.Cut(line, " web app: "); ok {
				got = append(got, strings.TrimSuffix(body, "\n"))
			}
		}
	}
	same(t, "afterwards", got, []string{"two", "three"})
	fresh := s.Reader(Position{})
	defer fresh.Close()
	same(t, "for others", readBodies(t, fresh, 2), got)
}
