package sink

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/internal/waittest"
)

// readObserved reads so many lines of an observed log.
func readObserved(t *testing.T, o *Sink, r *Reader, n int) (got []string) {
	t.Helper()
	buf := make([]byte, 64<<10)
	waittest.Until(t, fmt.Sprint(n, " lines"), func() bool {
		text, _, err := r.Read(context.Background(), buf)
		if err != nil {
			t.Fatalf("after %d lines, at %s: %v", len(got), r.At(), err)
		}
		for line := range strings.Lines(string(text)) {
			if _, body, ok := strings.Cut(line, " web app: "); ok {
				got = append(got, strings.TrimSuffix(body, "\n"))
			}
		}
		if text == nil && len(got) < n {
			if err := o.Refresh(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		return len(got) >= n
	})
	return got
}

// TestObserve: what only reads sees the same lines as the log's own process, over rotations and compression, while it
// writes and when it has ended.
func TestObserve(t *testing.T) {
	for _, compress := range []string{"none", "gzip"} {
		s := open(t, &Sink{Retention: RetentionPolicy{Compress: compress}, Sync: syncNone})
		src := newSource()
		src.send(t, s, "line 0")
		s.Checkpoint(context.Background())
		o, err := Observe(context.Background(), s.Path, s.State, "")
		if err != nil {
			t.Fatal(err)
		}
		r := o.Reader(Position{})
		defer r.Close()
		want := []string{"line 0"}
		got := make(chan []string, 1)
		const lines = 600
		go func() { got <- readObserved(t, o, r, lines) }() // ends with the lines, or in time
		for i := 1; i < lines; i++ {
			want = append(want, fmt.Sprint("line ", i))
			src.send(t, s, want[i])
			if i%100 == 99 {
				if _, err := s.Rotate(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
		}
		same(t, "while lines came", <-got, want)
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		later, err := Observe(context.Background(), s.Path, s.State, "")
		if err != nil {
			t.Fatal(err)
		}
		if later.LogID() != s.LogID() || later.End() != s.End() {
			t.Errorf("log %s ends at %s, want %s and %s", later.LogID(), later.End(), s.LogID(), s.End())
		}
		again := later.Reader(Position{})
		defer again.Close()
		same(t, "afterwards", readObserved(t, later, again, lines), want)
	}
}

// TestObserveRenamed: files that were rotated and compressed since the last look are found.
func TestObserveRenamed(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "gzip"}, Sync: syncNone})
	src := newSource()
	src.send(t, s, "one")
	s.Checkpoint(context.Background())
	o, err := Observe(context.Background(), s.Path, s.State, "")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the newest rotated file stays as it is for a while
		if _, err := s.Rotate(context.Background()); err != nil {
			t.Fatal(err)
		}
		src.send(t, s, "more")
	}
	waittest.Until(t, "an archive", func() bool { return s.Status().Generations[0].State == stateGzip })
	r := o.Reader(Position{})
	defer r.Close()
	text, _, err := r.Read(context.Background(), make([]byte, 1000))
	if err != nil || !strings.HasSuffix(string(text), " app: one\n") {
		t.Errorf("%q, %v", text, err)
	}
}

// TestObserveNothing: what is no log is not observed, and nothing is created.
func TestObserveNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.log")
	if _, err := Observe(context.Background(), path, "", ""); err == nil {
		t.Error("there is a log where none is")
	}
	if list, _ := os.ReadDir(filepath.Dir(path)); len(list) > 0 {
		t.Errorf("%s was created", list[0].Name())
	}
}

// TestTimes: the ledger says when lines were read; behind it the lines do; no time goes back.
func TestTimes(t *testing.T) {
	begin := time.Now().Add(-600 * time.Second).Truncate(time.Second)
	s, places := manyFiles(t, begin)
	for _, ledgers := range []bool{true, false} {
		if !ledgers {
			for _, g := range s.files() {
				os.Remove(ledgerName(s.State, g.Number))
			}
		} else if err := s.Checkpoint(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, from := range []int{0, 77, 149, 150, 333, 599} {
			r, times := s.Reader(places[from]), s.Times()
			defer r.Close()
			defer times.Close()
			for i := from; i < len(places)-1; {
				text, at, err := r.Read(context.Background(), make([]byte, 10_000))
				if err != nil {
					t.Fatal(err)
				}
				spans, err := times.Spans(nil, text, at)
				if err != nil || len(spans) == 0 || spans[len(spans)-1].End != len(text) {
					t.Fatalf("%d bytes at %s: %v, %v", len(text), at, spans, err)
				}
				for _, x := range spans {
					if want := begin.Add(time.Duration(i) * time.Second).UnixMicro(); x.Time != want {
						t.Fatalf("ledgers %v: line %d was read at %d, want %d", ledgers, i, x.Time, want)
					}
					i++
				}
			}
		}
	}
}
