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
	"strings"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink/line"
	"fanin/sink/summary"
)

// linesOf reads all of a log, and counts the lines of each host and source.
func linesOf(t *testing.T, s *Sink) (counts map[summary.Series]uint64, total uint64) {
	t.Helper()
	counts = make(map[summary.Series]uint64)
	r := s.Reader(Position{})
	defer r.Close()
	for buf := make([]byte, 64<<10); ; {
		text, _, err := r.Read(context.Background(), buf)
		var gone *GoneError
		if errors.As(err, &gone) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if text == nil {
			return counts, total
		}
		for l := range bytes.Lines(text) {
			f := line.Parse(s.Format, l)
			counts[summary.Series{Host: string(f.Host), Source: string(f.Source)}]++
			total++
		}
	}
}

// sumOf adds up the lines of a histogram.
func sumOf(h *Histogram) (counts map[summary.Series]uint64, total uint64) {
	counts = make(map[summary.Series]uint64)
	for i, n := range h.Total {
		total += n
		series := h.Other[i]
		for _, s := range h.Series {
			counts[summary.Series{Host: s.Host, Source: s.Source}] += s.Lines[i]
			series += s.Lines[i]
		}
		if series != n {
			total = 0 // a column that does not add up
		}
	}
	return counts, total
}

// complete waits until the histogram of a log is complete, and returns it.
func complete(t *testing.T, s *Sink, q HistogramQuery) (h *Histogram) {
	t.Helper()
	q.Top = MaxTop
	waittest.Until(t, "the histogram to be complete", func() bool {
		var err error
		if h, err = s.Histogram(context.Background(), q); err != nil {
			t.Fatal(err)
		}
		return h.Complete
	})
	return h
}

// conserved checks that the histogram of a log has each of its lines once, under its names.
func conserved(t *testing.T, s *Sink, when string) {
	t.Helper()
	for range 2 { // the text follows the acknowledgement; notices are committed behind the first of the two
		if err := s.Checkpoint(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for {
		first := firstReadable(s)
		got, total := sumOf(complete(t, s, HistogramQuery{}))
		want, n := linesOf(t, s)
		if firstReadable(s) != first {
			continue // retention removed a file between the two
		}
		if total != n || !maps.Equal(got, want) {
			t.Fatalf("%s: the histogram has %d lines; the log has %d: %v, %v", when, total, n, got, want)
		}
		return
	}
}

// firstReadable returns the oldest file that can be read.
func firstReadable(s *Sink) uint64 {
	for _, g := range s.Status().Generations {
		if g.readable() {
			return g.Number
		}
	}
	return 0
}

// feed appends batches of all kinds.
func feed(t *testing.T, s *Sink, rnd *rand.Rand, src *source) {
	t.Helper()
	now := time.Now()
	src.at = now.Add(-100 * time.Hour) // histograms of fixed dates would become longer from day to day
	for range 40 {
		b := wire.Batch{Input: "tcp", Host: fmt.Sprint("web-", rnd.IntN(3)), Source: []string{"", "app", "db[7]"}[rnd.IntN(3)],
			Time: now.Add(-time.Duration(rnd.IntN(5000)) * time.Minute).UnixMicro()}
		var text strings.Builder
		for i := range rnd.IntN(6) + 1 {
			if rnd.IntN(3) == 0 {
				b.Marks = append(b.Marks, wire.Mark{Text: text.Len(), Labels: wire.Labels{Host: fmt.Sprint("marked-", rnd.IntN(2)),
					Source: []string{"", "cron"}[rnd.IntN(2)], Time: now.Add(-time.Hour)}})
			}
			fmt.Fprintf(&text, "line %d %s\n", i, strings.Repeat("x", rnd.IntN(300)))
		}
		b.Text = []byte(text.String())
		if err := s.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		src.send(t, s, fmt.Sprint("of a stream ", rnd.IntN(100)))
		if rnd.IntN(10) == 0 {
			s.Notice("SOMETHING happened")
		}
	}
}

// TestHistogramConserves: the histogram of a log has every line that the log has, once, under
// its own names: in each format, through rotation, compression, retention, and starts after
// which the lines of the live file are counted from its text.
func TestHistogramConserves(t *testing.T) {
	for _, format := range []string{"syslog", "json", "raw"} {
		t.Run(format, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "all.log")
			rnd, src := rand.New(rand.NewPCG(1, 2)), newSource()
			for life := range 4 {
				s := &Sink{Path: path, Format: format, Rotation: RotationPolicy{Size: 10 << 10},
					Retention: RetentionPolicy{Files: 12}, env: environment{fresh: true}}
				open(t, s)
				conserved(t, s, fmt.Sprint("at start ", life))
				for i := range 4 {
					feed(t, s, rnd, src)
					conserved(t, s, fmt.Sprintf("after round %d of start %d", i, life))
				}
				if err := s.Close(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// summaries returns the summaries that are on the disk, by name.
func summaries(t *testing.T, s *Sink) map[string]string {
	t.Helper()
	files := make(map[string]string)
	list, err := filepath.Glob(filepath.Join(s.State, "summary-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range list {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = string(b)
	}
	return files
}

// TestHistogramOfOldLines: lines that are older than the longest range, all of them, are in its first bucket.
func TestHistogramOfOldLines(t *testing.T) {
	s := open(t, &Sink{env: environment{fresh: true}})
	for _, years := range []int{-2, -40} {
		b := wire.Batch{Host: "web", Source: "app", Input: "tcp", Time: time.Now().AddDate(years, 0, 0).UnixMicro(), Text: []byte("old\n")}
		if err := s.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		conserved(t, s, "in the live file")
		if _, err := s.Rotate(context.Background()); err != nil {
			t.Fatal(err)
		}
		conserved(t, s, "in a closed file")
	}
}

// TestSummaryRecount: a summary that is missing or damaged is made again from the text and the
// ledger, and is then what the writer counted, byte for byte.
func TestSummaryRecount(t *testing.T) {
	for _, format := range []string{"syslog", "json", "raw"} {
		t.Run(format, func(t *testing.T) {
			s, src := open(t, &Sink{Format: format, Rotation: RotationPolicy{Size: 10 << 10}, env: environment{fresh: true}}), newSource()
			feed(t, s, rand.New(rand.NewPCG(3, 4)), src)
			if _, err := s.Rotate(context.Background()); err != nil {
				t.Fatal(err)
			}
			conserved(t, s, "at first")
			want := summaries(t, s)
			if len(want) < 3 {
				t.Fatalf("only %d summaries", len(want))
			}
			i := 0
			for name, text := range want {
				path := filepath.Join(s.State, name)
				damage := []func() error{
					func() error { return os.Remove(path) },
					func() error { return os.WriteFile(path, nil, 0o640) },
					func() error { return os.WriteFile(path, []byte(text[:len(text)-3]), 0o640) },
					func() error { return os.WriteFile(path, append([]byte("xx"), text[2:]...), 0o640) },
				}[i%4]
				i++
				if err := damage(); err != nil {
					t.Fatal(err)
				}
			}
			conserved(t, s, "after the damage")
			// Whole hours are known without the summaries: this begins inside the first hour of each file.
			complete(t, s, HistogramQuery{From: src.at.Add(30 * time.Minute)})
			waittest.Until(t, "the summaries to be made again", func() bool { return maps.Equal(summaries(t, s), want) })
		})
	}
}

// TestSummaryOfOthers: lines that another process wrote are counted by the time that they show.
func TestSummaryOfOthers(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "all-2026-11-22T17-00-00.000.log")
	text := "2026-11-20T10:00:30.000000Z web app: one\n2026-11-20T11:00:30.000000Z web app: two\nno time\n"
	if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 17, 0, 0, 0, time.UTC)
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
	s := open(t, &Sink{Path: filepath.Join(dir, "all.log"), env: environment{fresh: true}})
	h := complete(t, s, HistogramQuery{From: at.Add(-72 * time.Hour), To: at.Add(time.Hour), Step: time.Hour})
	got := make(map[time.Time]uint64)
	for i, n := range h.Total {
		if n > 0 {
			got[h.Start.Add(time.Duration(i)*time.Hour)] = n
		}
	}
	day := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	if want := map[time.Time]uint64{day.Add(10 * time.Hour): 1, day.Add(11 * time.Hour): 1, at: 1}; !maps.Equal(got, want) {
		t.Errorf("the histogram has %v, want %v", got, want)
	}
}

// TestHistogramRange: a range has the lines that were read in it, those of the chosen names alone,
// and the largest series first.
func TestHistogramRange(t *testing.T) {
	s := open(t, &Sink{env: environment{fresh: true}})
	begin := time.Now().UTC().Truncate(time.Hour).Add(-10 * time.Hour)
	for i := range 10 {
		for host := range 3 {
			err := s.Append(context.Background(), wire.Batch{Input: "tcp", Host: fmt.Sprint("h", host), Source: "app",
				Time: begin.Add(time.Duration(i) * time.Hour).UnixMicro(), Text: bytes.Repeat([]byte("x\n"), host+1)})
			if err != nil {
				t.Fatal(err)
			}
		}
		if i%3 == 2 {
			if _, err := s.Rotate(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	complete(t, s, HistogramQuery{})
	one, err := s.Matcher(line.Filter{Host: []string{"h1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		q      HistogramQuery
		total  string
		series string
	}{
		{HistogramQuery{From: begin.Add(2 * time.Hour), To: begin.Add(5 * time.Hour), Step: time.Hour, Top: 1}, "[6 6 6]", "h2 [3 3 3]"},
		{HistogramQuery{From: begin.Add(2 * time.Hour), To: begin.Add(5 * time.Hour), Step: time.Hour, Names: one}, "[2 2 2]", ""},
		{HistogramQuery{Step: time.Hour, Names: one, Top: 9}, "[2 2 2 2 2 2 2 2 2 2]", "h1 [2 2 2 2 2 2 2 2 2 2]"},
		{HistogramQuery{From: begin.Add(-time.Hour), To: begin, Step: 30 * time.Minute}, "[0 0]", ""},
	} {
		h, err := s.Histogram(context.Background(), c.q)
		if err != nil {
			t.Fatal(err)
		}
		var series []string
		for _, x := range h.Series {
			series = append(series, fmt.Sprint(x.Host, " ", x.Lines))
		}
		if fmt.Sprint(h.Total) != c.total || strings.Join(series, "; ") != c.series {
			t.Errorf("%+v: %v, %v; want %s, %s", c.q, h.Total, series, c.total, c.series)
		}
	}
	for _, q := range []HistogramQuery{{From: begin, To: begin.Add(-time.Hour)}, {From: begin.AddDate(-1, 0, 0), Step: time.Minute}} {
		if _, err := s.Histogram(context.Background(), q); !errors.Is(err, ErrHistogram) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// TestHistogramOfLongCells: a bucket is no part of a cell: the lines of one cell would all be in one of
// its buckets, and the others would look empty.
func TestHistogramOfLongCells(t *testing.T) {
	tally := summary.NewTally()
	begin := line.Minute(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro())
	for i := range int64(100_000) {
		tally.Add(summary.Series{Host: fmt.Sprint("web-", i%4), Source: "app"}, begin+i, 10)
	}
	at := time.Unix((begin+50_000)*60, 0)
	b := &histogram{q: HistogramQuery{From: at, To: at.Add(time.Hour)}}
	if err := b.add(part{memory: tally.Append(nil, summary.File{}), opened: at}); err != nil {
		t.Fatal(err)
	}
	cell := b.parts[0].step
	if cell < 2 {
		t.Fatal("the cells are short")
	}
	if err := b.buckets(); err != nil {
		t.Fatal(err)
	}
	if b.h.Step%(cell*60) != 0 {
		t.Errorf("buckets of %d s, cells of %d min", b.h.Step, cell)
	}
	for minutes, ok := range map[int64]bool{cell: true, 3 * cell: true, cell / 2: false, cell + 1: false, 1: false} {
		b.q.Step = time.Duration(minutes) * time.Minute
		if err := b.buckets(); (err == nil) != ok || err != nil && (!errors.Is(err, ErrHistogram) || !strings.Contains(err.Error(), fmt.Sprint(cell, " minutes"))) {
			t.Errorf("a step of %d minutes, cells of %d: %v", minutes, cell, err)
		}
	}
}
