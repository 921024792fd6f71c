package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fanin/internal/disk"
	"fanin/internal/waittest"
	"fanin/sink/line"
	"fanin/sink/summary"
)

// TestOutlinesAreEnough: a histogram with bars of hours is the same from outlines and from whole summaries, whatever
// its range, and reads no summary that its range has all of.
func TestOutlinesAreEnough(t *testing.T) {
	s := open(t, &Sink{Rotation: RotationPolicy{Size: 10 << 10}, env: environment{fresh: true}})
	rnd, src := rand.New(rand.NewPCG(5, 6)), newSource()
	for range 3 {
		feed(t, s, rnd, src)
	}
	conserved(t, s, "at first")
	s.summarizer.stop() // it makes again what is missing
	defer s.summarizer.start()
	one, err := s.Matcher(line.Filter{Host: []string{"web-1"}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	queries := []HistogramQuery{{Step: time.Hour}, {Step: 6 * time.Hour, Names: one}, {Step: 30 * time.Minute}}
	for i := range 40 {
		queries = append(queries, HistogramQuery{Step: 2 * time.Hour, From: now.Add(-time.Duration(100+i*7) * time.Minute)},
			HistogramQuery{Step: time.Hour, To: now.Add(-time.Duration(i*11) * time.Minute)})
	}
	answers := func() (list []*Histogram) {
		t.Helper()
		for _, q := range queries {
			q.Top = 5
			h, err := s.Histogram(context.Background(), q)
			if err != nil || !h.Complete {
				t.Fatalf("%+v: %+v, %v", q, h, err)
			}
			list = append(list, h)
		}
		return list
	}
	outlined, kept := answers(), s.summarizer.outlines
	if len(kept.of) < 3 {
		t.Fatalf("%d outlines", len(kept.of))
	}
	s.summarizer.outlines = newOutlines(s)
	s.summarizer.outlines.loaded.Do(func() {}) // there is no file
	if whole := answers(); !reflect.DeepEqual(outlined, whole) {
		t.Errorf("from outlines:\n%+v\nfrom summaries:\n%+v", outlined, whole)
	}
	s.summarizer.outlines = kept
	for name := range summaries(t, s) {
		if err := os.Remove(filepath.Join(s.State, name)); err != nil {
			t.Fatal(err)
		}
	}
	queries = queries[:2]
	answers()
}

// TestOutlinesSaved: outlines survive a start, and what is damaged of their file is made again.
func TestOutlinesSaved(t *testing.T) {
	s := open(t, &Sink{Rotation: RotationPolicy{Size: 10 << 10}, env: environment{fresh: true}})
	feed(t, s, rand.New(rand.NewPCG(7, 8)), newSource())
	conserved(t, s, "at first")
	have := func() map[uint64]string {
		m := make(map[uint64]string)
		for g := range s.summaryFiles() {
			f, _ := s.summaryFile(g)
			if o := s.summarizer.outlines.get(f); o.head != nil {
				m[g] = string(o.text)
			}
		}
		return m
	}
	waittest.Until(t, "an outline of each file", func() bool { return len(have()) == len(s.summaryFiles()) })
	want := have()
	again := func(change func(file []byte) []byte) *outlines {
		t.Helper()
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(s.State, outlinesName)
		file, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, change(file), 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
		s = &Sink{Path: s.Path, Rotation: s.Rotation, env: environment{fresh: true}}
		found := newOutlines(&Sink{State: StateDir(s.Path)})
		found.load()
		open(t, s)
		return found
	}
	if found := again(func(file []byte) []byte { return file }); len(found.of) != len(want) {
		t.Errorf("of %d outlines %d were saved", len(want), len(found.of))
	}
	for i, change := range []func(file []byte) []byte{
		func(file []byte) []byte { return file[:len(file)/2] },
		func(file []byte) []byte { file[len(file)/2] ^= 1; return file },
		func([]byte) []byte { return []byte{255, 255, 255, 255, 0} },
		func([]byte) []byte { return nil },
	} {
		if found := again(change); len(found.of) >= len(want) {
			t.Errorf("damage %d: all outlines were read", i)
		}
		waittest.Until(t, "the outlines to be made again", func() bool { return maps.Equal(have(), want) })
	}
}

// TestSavedCountsKept: what was saved of outlines and of the live file stays when the disk has no room for the next.
func TestSavedCountsKept(t *testing.T) {
	var full atomic.Bool
	s := &Sink{Rotation: RotationPolicy{Size: 10 << 10}, env: environment{fresh: true}}
	s.Disk = &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		name := filepath.Base(path)
		if full.Load() && op == disk.OpWrite && (strings.HasPrefix(name, "summary-") || strings.HasPrefix(name, outlinesName)) {
			return 0, syscall.ENOSPC
		}
		return 0, nil
	}}
	open(t, s)
	rnd, src := rand.New(rand.NewPCG(9, 10)), newSource()
	feed(t, s, rnd, src)
	conserved(t, s, "at first")
	s.summarizer.stop()
	defer s.summarizer.start()
	if err := s.summarizer.save(0); err != nil {
		t.Fatal(err)
	}
	before := summaries(t, s)
	outlines, err := os.ReadFile(filepath.Join(s.State, outlinesName))
	if err != nil {
		t.Fatal(err)
	}
	src.send(t, s, "one more")
	for range 2 { // the text follows the acknowledgement
		if err := s.Checkpoint(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	full.Store(true)
	s.summarizer.outlines.dirty = true
	if err := s.summarizer.save(0); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("saved on a full disk: %v", err)
	}
	full.Store(false)
	if after := summaries(t, s); !maps.Equal(before, after) {
		t.Errorf("there were %d summaries, and there are %d, or others", len(before), len(after))
	}
	if b, err := os.ReadFile(filepath.Join(s.State, outlinesName)); err != nil || !bytes.Equal(b, outlines) {
		t.Errorf("the outlines are others: %v", err)
	}
}

// TestOutlinesBound: of many files the newest ones have outlines.
func TestOutlinesBound(t *testing.T) {
	x := newOutlines(&Sink{State: t.TempDir()})
	tally := summary.NewTally()
	for i := range int64(100_000) {
		tally.Add(summary.Series{Host: fmt.Sprint("a host with a long name ", i%1000), Source: "app"}, i%(60*24*7), uint64(1+i%100))
	}
	last := uint64(0)
	for n := 0; n <= maxOutlines*5/4; last++ {
		sum, err := summary.Parse(tally.Append(nil, summary.File{Generation: last}))
		if err != nil {
			t.Fatal(err)
		}
		x.set(sum)
		n += len(sum.Outline())
	}
	if x.bytes > maxOutlines || x.bytes < maxOutlines*9/10 || !x.full() {
		t.Errorf("%d bytes; at most %d", x.bytes, maxOutlines)
	}
	if x.get(summary.File{Generation: last - 1}).head == nil || x.get(summary.File{}).head != nil {
		t.Error("the newest one is not there, or the oldest one is")
	}
}

// TestLiveSummarySaved: a start continues the counts of the live file where they were saved: at a stop, so that none
// of its lines are counted again, and before a kill -9.
func TestLiveSummarySaved(t *testing.T) {
	s := open(t, &Sink{env: environment{fresh: true}})
	rnd, src := rand.New(rand.NewPCG(9, 10)), newSource()
	reopen := func(change func(path string)) {
		t.Helper()
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		change(summaryName(s.State, 1))
		s = &Sink{Path: s.Path, env: environment{fresh: true}}
		open(t, s)
	}
	saved := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	write := func(path string, b []byte) {
		if err := os.WriteFile(path, b, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	feed(t, s, rnd, src)
	var early []byte
	reopen(func(path string) { early = saved(path) })
	conserved(t, s, "after a stop")
	feed(t, s, rnd, src)
	reopen(func(path string) { write(path, early) }) // as a kill -9 leaves it
	conserved(t, s, "after a kill")
	reopen(func(path string) { write(path, saved(path)[:200]) })
	conserved(t, s, "after damage")

	// It is used, and only if it can be of this text: with a line too many, the histogram shows that line.
	for _, more := range []int64{0, 1} {
		_, want := linesOf(t, s)
		reopen(func(path string) {
			sum, err := summary.Parse(saved(path))
			if err != nil {
				t.Fatal(err)
			}
			tally := summary.NewTally()
			tally.AddSummary(sum)
			tally.Add(summary.Series{Host: "no such", Source: "host"}, sum.Last, 1)
			f := sum.File
			f.Size += more
			write(path, tally.Append(nil, f))
		})
		if _, got := sumOf(complete(t, s, HistogramQuery{})); got != want+1-uint64(more) {
			t.Errorf("a size with %d more: %d lines; the file has %d", more, got, want)
		}
	}
}
