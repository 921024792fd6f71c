package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"fanin/sink/line"
	"fanin/sink/summary"
)

// HistogramQuery is what a histogram is to show. Zero fields take the defaults named.
type HistogramQuery struct {
	From, To time.Time     // lines read from From on, and before To; default: all
	Step     time.Duration // length of a bucket, a multiple of a minute; default: about 240 buckets
	Names    *line.Matcher // hosts and sources; nil: all
	Top      int           // series with buckets of their own
}

// Histogram is how many lines were read at each time. Buckets begin at multiples of their
// length since 1970.
type Histogram struct {
	Start    time.Time         `json:"start"`        // of the first bucket
	Step     int64             `json:"step_seconds"` // length of a bucket
	Total    []uint64          `json:"total"`        // lines by bucket
	Series   []HistogramSeries `json:"series"`       // those with the most lines first
	Other    []uint64          `json:"other"`        // lines of all other series, by bucket
	Complete bool              `json:"complete"`
	Reason   string            `json:"reason,omitempty"` // why it is not complete
}

// HistogramSeries is the lines of one host and source.
type HistogramSeries struct {
	Host   string   `json:"host"`
	Source string   `json:"source"`
	Lines  []uint64 `json:"lines"` // by bucket
}

// The bounds of a histogram.
const (
	MaxBuckets = 2000
	MaxTop     = 100

	usualBuckets = 240
	maxNames     = 100_000              // series that are compared; lines of all others count as other
	longestPast  = 366 * 24 * time.Hour // before a file was opened: how early its lines may count
)

// ErrHistogram is wrapped by the error for a query that cannot be answered.
var ErrHistogram = errors.New("no such histogram")

// Histogram counts lines by the minute in which they were read, which is what a search
// since a time goes by. It reads the summaries of files, and none of their text. Where the
// query has no From or To, lines whose clock was wrong by years count in the first or the
// last bucket.
func (s *Sink) Histogram(ctx context.Context, q HistogramQuery) (*Histogram, error) {
	b := &histogram{s: s, q: q, totals: make(map[summary.Series]*uint64), missing: make(map[uint64]bool)}
	if err := b.files(ctx); err != nil {
		return nil, err
	}
	if err := b.buckets(); err != nil {
		return nil, err
	}
	b.choose()
	b.fill()
	if n := len(b.missing); n > 0 {
		b.lacks(fmt.Sprintf("the lines of %d files are not counted yet", n))
	}
	b.h.Complete = len(b.reasons) == 0
	b.h.Reason = strings.Join(b.reasons, "; ")
	return &b.h, nil
}

// histogram is a histogram that is being made: in two rounds through the summaries, so that
// it holds the buckets of those series alone that it shows.
type histogram struct {
	s       *Sink
	q       HistogramQuery
	parts   []part
	missing map[uint64]bool // files whose lines are not counted
	reasons []string
	h       Histogram
	lo, hi  int64 // minutes since 1970 that it shows

	totals map[summary.Series]*uint64 // lines in the range
	chosen map[summary.Series]int     // index in h.Series
}

// part is a summary that counts.
type part struct {
	file    summary.File
	name    string // of the file
	memory  []byte // nil: it is read from the disk
	outline outline
	opened  time.Time
	first   int64 // minutes since 1970
	last    int64
	step    int64
}

// files finds the summaries, and the time that they span.
func (b *histogram) files(ctx context.Context) error {
	generation, live, complete := b.s.summarizer.live.now(b.s.env.fresh)
	if !complete {
		b.lacks("the lines that were in the live file at the start are being counted")
	}
	files := b.s.files()
	closed := b.s.summaryFiles()
	for _, g := range files {
		switch {
		case g.Number == generation:
			for _, text := range live {
				if err := b.add(part{memory: text, opened: g.Opened}); err != nil {
					return err
				}
			}
		case !g.readable() || g.State == stateLive: // gone, or begun since
		default:
			b.addClosed(g, closed)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// lacks notes why the histogram is not complete. A few reasons are enough.
func (b *histogram) lacks(reason string) {
	if len(b.reasons) < 5 && !slices.Contains(b.reasons, reason) {
		b.reasons = append(b.reasons, reason)
	}
}

// addClosed adds the summary of a closed file.
func (b *histogram) addClosed(g Generation, closed map[uint64]summary.File) {
	f, ok := closed[g.Number]
	if !ok {
		return // retention has just removed it
	}
	if b.add(part{file: f, opened: g.Opened, name: g.Name, outline: b.s.summarizer.outlines.get(f)}) != nil {
		b.misses(f.Generation, g.Name)
	}
}

// misses notes that the summary of a file cannot be read, unless retention has just removed both.
func (b *histogram) misses(generation uint64, name string) {
	if _, ok := b.s.summaryFile(generation); !ok || b.missing[generation] {
		return
	}
	b.missing[generation] = true
	if err := b.s.summarizer.makeAgain(generation); err != nil {
		b.lacks(fmt.Sprintf("%s cannot be counted: %v", name, err))
	}
}

// add adds a summary. Of a file's, it reads the beginning only, if there is no outline: most histograms are
// of a short time.
func (b *histogram) add(p part) error {
	sum, err := p.outline.head, error(nil)
	switch {
	case p.memory != nil:
		sum, err = summary.Parse(p.memory)
	case sum == nil:
		sum, err = b.s.readSummaryHead(p.file)
	}
	if err != nil {
		return err
	}
	p.first, p.last, p.step = sum.First, sum.Last, sum.Step
	if sum.Lines > 0 {
		b.parts = append(b.parts, p)
	}
	return nil
}

func (b *histogram) read(p *part) (*summary.Summary, error) {
	switch {
	case p.memory != nil:
		return summary.Parse(p.memory)
	case b.outlined(p):
		_, sum, err := summary.ParseOutline(p.outline.text)
		return sum, err
	}
	return b.s.readSummary(p.file)
}

// outlined reports whether the outline of a summary is enough: each of its cells has to be in one bucket,
// and all of its lines in the range.
func (b *histogram) outlined(p *part) bool {
	step := p.outline.step
	return step > 0 && b.h.Step%(step*60) == 0 && (b.q.From.IsZero() || floorTo(p.first, step) >= b.lo) &&
		(b.q.To.IsZero() || floorTo(p.last, step)+step <= b.hi)
}

// buckets lays the buckets out.
func (b *histogram) buckets() error {
	now := line.Minute(time.Now().UnixMicro())
	lo, hi := now, now+1
	for i, p := range b.parts {
		first := min(max(p.first, line.Minute(p.opened.Add(-longestPast).UnixMicro())), now+24*60-1)
		last := max(min(p.last+p.step, now+24*60), first+1)
		if i == 0 {
			lo, hi = first, last
		}
		lo, hi = min(lo, first), max(hi, last)
	}
	if !b.q.From.IsZero() {
		lo = line.Minute(b.q.From.UnixMicro())
		hi = max(hi, lo+1)
	}
	if !b.q.To.IsZero() {
		hi = line.Minute(b.q.To.UnixMicro() + 59_999_999)
		if b.q.From.IsZero() {
			lo = min(lo, hi-1)
		}
	}
	if lo >= hi {
		return fmt.Errorf("%w: it would end before it begins", ErrHistogram)
	}
	step, cell := int64(b.q.Step/time.Minute), b.longest(lo, hi)
	if b.q.Step == 0 {
		step = usualStep((hi - lo + usualBuckets - 1) / usualBuckets)
		step = (step + cell - 1) / cell * cell
	}
	if step%cell != 0 {
		return fmt.Errorf("%w: lines of this time are counted by %d minutes: choose a step that is a multiple of "+
			"that, or none", ErrHistogram, cell)
	}
	start := floorTo(lo, step)
	n := (hi - start + step - 1) / step
	if n > MaxBuckets {
		return fmt.Errorf("%w: %d buckets; at most %d: choose a longer step", ErrHistogram, n, MaxBuckets)
	}
	b.h.Start, b.h.Step = time.Unix(start*60, 0).UTC(), step*60
	b.h.Total, b.h.Other = make([]uint64, n), make([]uint64, n)
	b.lo, b.hi = lo, hi
	return nil
}

// longest returns how long the longest cell in a range is, in minutes. No bucket should be a part of one:
// it would have all lines of the cell, and its neighbours none.
func (b *histogram) longest(lo, hi int64) int64 {
	longest := int64(1)
	for _, p := range b.parts {
		if p.first < hi && p.last+p.step > lo {
			longest = max(longest, p.step)
		}
	}
	return longest
}

// usualStep returns a length that is easy to read on an axis, at least so many minutes.
func usualStep(minutes int64) int64 {
	for _, step := range []int64{1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720} {
		if step >= minutes {
			return step
		}
	}
	const day = 24 * 60
	return (minutes + day - 1) / day * day
}

// floorTo rounds n down to a multiple of step.
func floorTo(n, step int64) int64 { return n - ((n%step)+step)%step }

// bucket returns the bucket that a minute is in, -1 if it is in none.
func (b *histogram) bucket(minute int64) int {
	if minute < b.lo {
		if !b.q.From.IsZero() {
			return -1
		}
		minute = b.lo
	}
	if minute >= b.hi {
		if !b.q.To.IsZero() {
			return -1
		}
		minute = b.hi - 1
	}
	return int((minute*60 - b.h.Start.Unix()) / b.h.Step)
}

// within reports whether all cells of a summary are in the range.
func (b *histogram) within(p *part) bool {
	return b.bucket(p.first) >= 0 && b.bucket(p.last) >= 0
}

// atOnce is how many summaries are read at the same time: a disk that has to look for each is asked for several.
const atOnce = 8

// rows calls f with each part of which cells may be in the range, and its summary. What was
// removed since the first look is left out.
func (b *histogram) rows(f func(p *part, sum *summary.Summary)) {
	var within []*part
	for i := range b.parts {
		p := &b.parts[i]
		if !b.q.From.IsZero() && p.last < b.lo || !b.q.To.IsZero() && p.first >= b.hi {
			continue
		}
		within = append(within, p)
	}
	for some := range slices.Chunk(within, atOnce) {
		sums, errs := make([]*summary.Summary, len(some)), make([]error, len(some))
		var reading sync.WaitGroup
		for i, p := range some {
			reading.Go(func() { sums[i], errs[i] = b.read(p) }) // ends with the file
		}
		reading.Wait()
		for i, p := range some {
			if errs[i] != nil {
				b.misses(p.file.Generation, p.name)
				continue
			}
			f(p, sums[i])
		}
	}
}

func (b *histogram) selects(r *summary.Row) bool {
	return b.q.Names == nil || b.q.Names.MatchNames(r.Host, r.Source)
}

// choose chooses the series that get buckets of their own.
func (b *histogram) choose() {
	b.rows(func(p *part, sum *summary.Summary) {
		if b.q.Names != nil && sum.Other.Lines > 0 {
			b.lacks(fmt.Sprintf("a file has lines of more than %d hosts and sources, and those of the others cannot "+
				"be chosen", summary.MaxSeries))
		}
		whole := b.within(p)
		for i := range sum.Series {
			r := &sum.Series[i]
			if !b.selects(r) {
				continue
			}
			lines := r.Lines
			if !whole {
				lines = 0
				r.Each(func(minute int64, n uint64) {
					if b.bucket(minute) >= 0 {
						lines += n
					}
				})
			}
			b.total(r, lines)
		}
	})
	names := make([]summary.Series, 0, len(b.totals))
	for s := range b.totals {
		names = append(names, s)
	}
	slices.SortFunc(names, func(x, y summary.Series) int {
		return cmp.Or(cmp.Compare(*b.totals[y], *b.totals[x]), x.Compare(y))
	})
	names = names[:min(len(names), b.q.Top)]
	b.h.Series, b.chosen = make([]HistogramSeries, len(names)), make(map[summary.Series]int)
	for i, s := range names {
		b.h.Series[i] = HistogramSeries{s.Host, s.Source, make([]uint64, len(b.h.Total))}
		b.chosen[s] = i
	}
}

// total adds lines to those of a series.
func (b *histogram) total(r *summary.Row, lines uint64) {
	if lines == 0 {
		return
	}
	n := b.totals[summary.Series{Host: string(r.Host), Source: string(r.Source)}] // nothing is allocated to look it up
	if n == nil && len(b.totals) == maxNames {
		return
	}
	if n == nil {
		n = new(uint64)
		b.totals[summary.Series{Host: string(r.Host), Source: string(r.Source)}] = n
	}
	*n += lines
}

// fill fills the buckets.
func (b *histogram) fill() {
	add := func(r *summary.Row, to []uint64) {
		r.Each(func(minute int64, lines uint64) {
			if i := b.bucket(minute); i >= 0 {
				to[i] += lines
			}
		})
	}
	b.rows(func(_ *part, sum *summary.Summary) {
		if b.q.Names == nil {
			add(&sum.All, b.h.Total)
		}
		for i := range sum.Series {
			r := &sum.Series[i]
			if b.q.Names != nil && b.selects(r) {
				add(r, b.h.Total)
			}
			if at, ok := b.chosen[summary.Series{Host: string(r.Host), Source: string(r.Source)}]; ok {
				add(r, b.h.Series[at].Lines)
			}
		}
	})
	for i, n := range b.h.Total {
		for j := range b.h.Series {
			n -= b.h.Series[j].Lines[i]
		}
		b.h.Other[i] = n
	}
}
