package sink

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/sink/archive"
	"fanin/sink/line"
	"fanin/sink/summary"
)

// webLog returns lines of a web server, laid out, of about n bytes.
func webLog(n int) (text []byte) {
	rnd := rand.New(rand.NewPCG(1, 1))
	words := strings.Fields("GET POST /index.html /api/v1/orders status=200 status=404 upstream timeout connection " +
		"reset by peer user agent Mozilla/5.0 ms cache miss hit")
	at := time.Date(2026, 11, 22, 17, 0, 0, 0, time.UTC)
	for len(text) < n {
		at = at.Add(time.Duration(rnd.IntN(1000)) * time.Microsecond)
		text = at.AppendFormat(text, "2006-01-02T15:04:05.000000Z")
		text = fmt.Appendf(text, " web-%d nginx: 192.0.2.%d id=%08x", rnd.IntN(20), rnd.IntN(255), rnd.Uint32())
		for range 8 {
			text = append(append(text, ' '), words[rnd.IntN(len(words))]...)
		}
		text = append(text, '\n')
	}
	return text
}

// BenchmarkSearch searches an archive for what it does not have: the goal is 500 MB of text for
// each second of a processor.
func BenchmarkSearch(b *testing.B) {
	path := filepath.Join(b.TempDir(), "all.log")
	name := strings.TrimSuffix(path, ".log") + "-2026-11-22T17-00-00.000.log"
	if err := os.WriteFile(name, webLog(128<<20), 0o640); err != nil {
		b.Fatal(err)
	}
	if _, err := archive.Compress(context.Background(), nil, name, 0o640, nil); err != nil {
		b.Fatal(err)
	}
	os.Remove(name)
	s := &Sink{Path: path, Retention: RetentionPolicy{Bytes: -1}}
	if err := s.Open(context.Background()); err != nil {
		b.Fatal(err)
	}
	defer s.Close(context.Background())
	s.summarizer.stop()
	for what, f := range map[string]line.Filter{"word": {Include: []string{"order 4711"}}, "host": {Host: []string{"web-99"}},
		"expression": {Include: []string{`[a-z]zz[0-9]`}}} {
		b.Run(what, func(b *testing.B) {
			m, err := s.Matcher(f)
			if err != nil {
				b.Fatal(err)
			}
			n, began := int64(0), processorTime()
			for b.Loop() {
				x := s.Search(Position{}, SearchOptions{Match: m, Ahead: 4})
				for {
					blk, err := x.Next(context.Background())
					if err != nil {
						b.Fatal(err)
					}
					if blk == nil {
						break
					}
					n += blk.End.Offset - blk.Begin.Offset
				}
				x.Close()
			}
			b.SetBytes(n / int64(b.N))
			b.ReportMetric(float64(n)/1e6/(processorTime()-began).Seconds(), "MB/processor-s")
		})
	}
}

// BenchmarkHistogram makes a histogram of 20 GiB and 30 days: 80 files of 9 hours, each with 200
// hosts and sources that have lines in every minute. The goal is 300 ms, cold.
func BenchmarkHistogram(b *testing.B) {
	s := &Sink{Path: filepath.Join(b.TempDir(), "all.log"), Retention: RetentionPolicy{Bytes: -1}}
	if err := s.Open(context.Background()); err != nil {
		b.Fatal(err)
	}
	defer s.Close(context.Background())
	s.summarizer.stop()
	monthOfSummaries(b, s)
	for _, kept := range []bool{false, true} {
		b.Run(map[bool]string{false: "summaries", true: "outlines"}[kept], func(b *testing.B) {
			s.summarizer.whole = make(map[uint64]bool)
			s.summarizer.outlines = newOutlines(s)
			for i := range uint64(80) {
				if kept && !s.summarizer.has(i+1) {
					b.Fatal("there is no summary")
				}
			}
			began := processorTime()
			for b.Loop() {
				h, err := s.Histogram(context.Background(), HistogramQuery{Top: 20})
				if err != nil || !h.Complete || len(h.Series) != 20 {
					b.Fatalf("%v, %+v", err, h.Reason)
				}
			}
			b.ReportMetric((processorTime()-began).Seconds()*1000/float64(b.N), "processor-ms/op")
			b.ReportMetric(float64(s.summarizer.outlines.bytes)/1e6, "MB-of-outlines")
		})
	}
	files, _ := filepath.Glob(filepath.Join(s.State, "summary-*"))
	size := int64(0)
	for _, f := range files {
		if fi, err := os.Stat(f); err == nil {
			size += fi.Size()
		}
	}
	b.Logf("%d KB of summaries", size/1e3)
}

// monthOfSummaries gives a log 80 closed files, of which there are the summaries alone.
func monthOfSummaries(b *testing.B, s *Sink) {
	now := line.Minute(time.Now().UnixMicro())
	s.view.mu.Lock()
	live := s.view.catalog.generations
	s.view.catalog.generations = nil
	for i := range 80 {
		g := &generation{number: uint64(i + 1), name: fmt.Sprint(i), size: 256 << 20, state: stateGzip, opened: time.Now().AddDate(0, 0, -30)}
		s.view.catalog.generations = append(s.view.catalog.generations, g)
		tally := summary.NewTally()
		for minute := range int64(540) {
			for host := range 200 {
				tally.Add(summary.Series{Host: fmt.Sprint("web-", host%20), Source: fmt.Sprint("app-", host/20)},
					now-int64(80-i)*540+minute, uint64(host%7+1))
			}
		}
		if err := s.writeSummary(summaryName(s.State, g.number), tally.Append(nil, g.summaryFile(g.size))); err != nil {
			b.Fatal(err)
		}
	}
	live[0].number = 81
	s.view.catalog.generations = append(s.view.catalog.generations, live...)
	s.view.mu.Unlock()
	s.summarizer.live.begin(summary.File{Generation: 81})
}

// BenchmarkCounts is what the writer does for the summary when a group of plain lines is committed.
func BenchmarkCounts(b *testing.B) {
	var l liveSummary
	l.begin(summary.File{Generation: 1})
	layout, err := line.NewLayout("syslog")
	if err != nil {
		b.Fatal(err)
	}
	layout.Begin(1, "web", "app", nil)
	layout.Append(nil, block(1))
	to := int64(0)
	for b.Loop() {
		to += 1 << 20
		l.add(layout.Counts(), to, 1<<20)
	}
}
