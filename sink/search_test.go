package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"fanin/internal/waittest"
	"fanin/sink/archive"
	"fanin/sink/line"
)

// hit is a line that was found.
type hit struct {
	at   Position
	line string
}

// searched returns all that a search finds.
func searched(t *testing.T, s *Sink, at Position, o SearchOptions) (hits []hit) {
	t.Helper()
	x := s.Search(at, o)
	defer x.Close()
	for {
		b, err := x.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			return hits
		}
		for at, text := range b.Lines() {
			hits = append(hits, hit{at, string(text)})
		}
	}
}

// readOneByOne returns the same, line by line.
func readOneByOne(t *testing.T, s *Sink, at, to Position, m *line.Matcher) (hits []hit) {
	t.Helper()
	r := s.Reader(at)
	defer r.Close()
	for buf := make([]byte, 64<<10); ; {
		text, at, err := r.Read(context.Background(), buf)
		if err != nil {
			t.Fatal(err)
		}
		if text == nil {
			return hits
		}
		for l := range bytes.Lines(text) {
			if m.Match(l) && (to == Position{} || at.Compare(to) < 0) {
				hits = append(hits, hit{at, string(l)})
			}
			at.Offset += int64(len(l))
		}
	}
}

// oldLog makes rotated files of random lines, compressed with and without a table, and plain, of
// which the log is told when it is opened. Some lines are longer than a member of an archive.
func oldLog(t *testing.T, rnd *rand.Rand, path string) {
	t.Helper()
	for i := range 6 {
		var text bytes.Buffer
		for size := rnd.IntN(6 << 20); text.Len() < size; {
			n := rnd.IntN(300)
			switch rnd.IntN(6000) {
			case 0:
				n = 1<<20 + rnd.IntN(2<<20)
			case 1:
				n = 0
			}
			fmt.Fprintf(&text, "2026-11-22T17:00:00.123456Z web-%d app: %d %s\n", rnd.IntN(3), rnd.IntN(1000), strings.Repeat("x", n))
		}
		if rnd.IntN(3) == 0 {
			text.WriteString("a line without its end 777")
		}
		name := fmt.Sprintf("%s-2026-11-22T17-00-0%d.000.log", strings.TrimSuffix(path, ".log"), i)
		if err := os.WriteFile(name, text.Bytes(), 0o640); err != nil {
			t.Fatal(err)
		}
		if rnd.IntN(4) > 0 {
			if _, err := archive.Compress(context.Background(), nil, name, 0o640, nil); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestSearch: what is found in parallel is what is found line by line, in the same order, from
// every position, to every other.
func TestSearch(t *testing.T) {
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		path := filepath.Join(t.TempDir(), "all.log")
		oldLog(t, rnd, path)
		s := open(t, &Sink{Path: path, Retention: RetentionPolicy{Compress: "none"}})
		all := readOneByOne(t, s, Position{}, Position{}, new(line.Matcher))
		for _, include := range []string{" 777", "xx 7", "", "web-2 app: 1", `\d{3} x`, "nothing has this"} {
			m, err := s.Matcher(line.Filter{Include: []string{include}})
			if err != nil {
				t.Fatal(err)
			}
			from, to := all[rnd.IntN(len(all))].at, Position{}
			if rnd.IntN(2) == 0 {
				from = Position{}
			}
			if rnd.IntN(2) == 0 {
				to = all[rnd.IntN(len(all))].at
			}
			o := SearchOptions{Match: m, To: to, Ahead: 1 + rnd.IntN(5)}
			if rnd.IntN(2) == 0 {
				o.Gate = make(chan struct{}, 1)
			}
			got, want := searched(t, s, from, o), readOneByOne(t, s, from, to, m)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, %q from %s to %s: %d hits, want %d", seed, include, from, to, len(got), len(want))
			}
		}
	}
}

// TestSearchDamaged: what precedes a damaged member is found, and then the damage is reported.
func TestSearchDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.log")
	name := strings.TrimSuffix(path, ".log") + "-2026-11-22T17-00-00.000.log"
	text := bytes.Repeat([]byte("2026-11-22T17:00:00.123456Z web app: a line\n"), 200_000)
	if err := os.WriteFile(name, text, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Compress(context.Background(), nil, name, 0o640, nil); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name + ".gz")
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0xff
	if err := errors.Join(os.WriteFile(name+".gz", b, 0o640), os.Remove(name)); err != nil {
		t.Fatal(err)
	}
	s := open(t, &Sink{Path: path})
	x := s.Search(Position{}, SearchOptions{Match: new(line.Matcher), Ahead: 4})
	defer x.Close()
	n := 0
	for {
		b, err := x.Next(context.Background())
		if err != nil {
			break
		}
		if b == nil {
			t.Fatal("the damage was not noticed")
		}
		for range b.Lines() {
			n++
		}
	}
	if n < 60_000 || n >= 200_000 {
		t.Errorf("%d lines were found", n)
	}
}

// TestSearchCancelled: a search that is abandoned holds no goroutine and no memory.
func TestSearchCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.log")
	name := strings.TrimSuffix(path, ".log") + "-2026-11-22T17-00-00.000.log"
	if err := os.WriteFile(name, bytes.Repeat([]byte("2026-11-22T17:00:00.123456Z web app: a line\n"), 400_000), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Compress(context.Background(), nil, name, 0o640, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	s := open(t, &Sink{Path: path})
	complete(t, s, HistogramQuery{}) // nothing else reads the log any more
	before, memory := runtime.NumGoroutine(), inUse()
	for range 100 {
		ctx, cancel := context.WithCancel(context.Background())
		gate := make(chan struct{}, 2)
		x := s.Search(Position{}, SearchOptions{Match: new(line.Matcher), Ahead: 8, Gate: gate})
		for range 2 {
			if b, err := x.Next(ctx); b == nil || err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		if _, err := x.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("after it was cancelled: %v", err)
		}
		x.Close()
		if len(gate) > 0 {
			t.Error("it still counts as reading")
		}
	}
	waittest.Until(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
	if now := inUse(); now > memory+4<<20 {
		t.Errorf("%d MiB are in use; before, %d", now>>20, memory>>20)
	}
}

// inUse returns the bytes in use, after a collection.
func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
