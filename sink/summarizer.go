package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/retry"
	"fanin/sink/summary"
)

// summarizer writes the summaries of closed files, on a goroutine of its own: of a file that
// was just rotated what the writer counted, of all others what it counts itself, one file
// after another, the newest first. It takes half of a core at most, and less while the writer
// has much to do. What was done is on the disk, so another start continues with the next file.
type summarizer struct {
	s        *Sink
	live     liveSummary
	warnings *retry.Log
	wake     chan struct{}
	cancel   context.CancelFunc
	done     sync.WaitGroup
	whole    map[uint64]bool // files whose summaries were read whole, or written, since the start
	missing  missingSummaries
	made     summaryCounts
}

// missingSummaries is what histograms found to be missing or damaged, and why it could not be
// made.
type missingSummaries struct {
	mu     sync.Mutex
	found  []uint64
	failed map[uint64]failedSummary
}

// failedSummary is why a summary could not be made.
type failedSummary struct {
	at  time.Time
	err error
}

// retrySummary is when a summary that could not be made is tried again.
const retrySummary = time.Minute

func newSummarizer(s *Sink) *summarizer {
	return &summarizer{s: s, warnings: retry.NewLog(s.Log), wake: make(chan struct{}, 1),
		whole: make(map[uint64]bool), missing: missingSummaries{failed: make(map[uint64]failedSummary)}}
}

func (x *summarizer) start() {
	ctx, cancel := context.WithCancel(context.Background())
	x.cancel = cancel
	x.done.Go(func() { x.run(ctx) }) // ends by stop
}

func (x *summarizer) stop() {
	x.cancel()
	x.done.Wait()
}

// wakeUp has the summarizer look soon. It never waits.
func (x *summarizer) wakeUp() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

func (x *summarizer) run(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		if err := x.pass(ctx); err != nil && ctx.Err() == nil {
			x.warnings.Warn("summary", "cannot make the summary of a file of the log; histograms are incomplete, "+
				"and it is tried again in a minute", "err", err)
			x.made.errors.Add(1)
		}
		select {
		case <-x.wake:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// collect sends the metrics of summaries.
func (x *summarizer) collect(counter func(name, help string, v *atomic.Uint64, labels ...string)) {
	counter("fanin_summaries_total", "Summaries of files of the log that were written.", &x.made.written)
	counter("fanin_summaries_failed_total", "Summaries that could not be written; they are retried.", &x.made.errors)
}

// pass makes all summaries that are missing.
func (x *summarizer) pass(ctx context.Context) error {
	x.forgetDamaged()
	first := x.writeClosed()
	if err := x.countLive(ctx); err != nil {
		first = errors.Join(first, err)
	}
	files := x.s.files()
	for _, g := range slices.Backward(files[:len(files)-1]) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !g.readable() || x.has(g.Number) || x.missing.failedNow(g.Number) {
			continue
		}
		if err := x.make(ctx, g); err != nil && ctx.Err() == nil {
			x.missing.fail(g.Number, err)
			first = errors.Join(first, err)
		}
		first = errors.Join(first, x.writeClosed())
	}
	return first
}

func (m *missingSummaries) fail(generation uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed[generation] = failedSummary{time.Now(), err}
}

// failedNow reports whether a summary could not be made a moment ago.
func (m *missingSummaries) failedNow(generation uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.failed[generation]
	if ok && time.Since(f.at) > retrySummary {
		delete(m.failed, generation)
		return false
	}
	return ok
}

// has reports whether a file's summary is there.
func (x *summarizer) has(generation uint64) bool {
	if !x.whole[generation] {
		f, ok := x.s.summaryFile(generation)
		_, err := x.s.readSummary(f)
		x.whole[generation] = ok && err == nil
	}
	return x.whole[generation]
}

// forgetDamaged has the summaries made again that requests could not read.
func (x *summarizer) forgetDamaged() {
	x.missing.mu.Lock()
	defer x.missing.mu.Unlock()
	for _, generation := range x.missing.found {
		delete(x.whole, generation)
	}
	x.missing.found = nil
}

// makeAgain has the summary of a file made, and returns why it could not be, nil if it was
// not tried.
func (x *summarizer) makeAgain(generation uint64) error {
	m := &x.missing
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.found, generation) {
		m.found = append(m.found, generation)
	}
	x.wakeUp()
	return m.failed[generation].err
}

// writeClosed writes what the writer counted of files that were rotated. If the file does not
// end where the writer's lines do, another process changed it, and it is counted again.
func (x *summarizer) writeClosed() (first error) {
	for _, c := range x.live.takeClosed() {
		f, ok := x.s.summaryFile(c.generation)
		if !ok || f.Size != c.size {
			continue
		}
		t := c.tally
		if c.early != nil {
			c.early.Merge(t)
			t = c.early
		}
		first = errors.Join(first, x.write(f, t))
	}
	return first
}

// write writes a summary. A file that retention has removed meanwhile has none.
func (x *summarizer) write(f summary.File, t *summary.Tally) error {
	path := summaryName(x.s.State, f.Generation)
	err := x.s.writeSummary(path, t.Append(nil, f))
	if err != nil {
		return err
	}
	x.whole[f.Generation] = true
	if _, ok := x.s.summaryFile(f.Generation); !ok {
		return x.s.Disk.Remove(path)
	}
	x.made.written.Add(1)
	return nil
}

// make counts the lines of a closed file.
func (x *summarizer) make(ctx context.Context, g Generation) error {
	f, ok := x.s.summaryFile(g.Number)
	if !ok {
		return nil
	}
	t, err := x.s.tally(ctx, g, f.Size)
	var gone *GoneError
	if errors.As(err, &gone) || errors.Is(err, fs.ErrNotExist) {
		return nil // just now, and nothing of it is to be counted
	}
	if err != nil {
		return fmt.Errorf("count the lines of %s: %w", g.Name, err)
	}
	return x.write(f, t)
}

// countLive counts the lines that were in the live file when the log was opened.
func (x *summarizer) countLive(ctx context.Context) error {
	generation, size := x.live.uncounted()
	if size == 0 {
		return nil
	}
	for _, g := range x.s.files() {
		if g.Number != generation {
			continue
		}
		t, err := x.s.tally(ctx, g, size)
		if errors.Is(err, errUnreadable) {
			return nil // after its rotation all of it is counted
		}
		if err != nil {
			return fmt.Errorf("count the lines of %s: %w", g.Name, err)
		}
		x.live.setBefore(generation, t)
	}
	return nil
}

func summaryName(dir string, generation uint64) string {
	return filepath.Join(dir, fmt.Sprintf("summary-%08d", generation))
}

// maxSummary is more than any summary has.
const maxSummary = 32 << 20

// writeSummary writes a summary in place: if that is cut off, its checksum does not match.
func (s *Sink) writeSummary(path string, b []byte) error {
	f, err := s.Disk.Open(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// readSummary reads the summary of a file, and no other's.
func (s *Sink) readSummary(of summary.File) (*summary.Summary, error) {
	return s.parseSummary(of, maxSummary, summary.Parse)
}

// readSummaryHead reads the beginning of a summary.
func (s *Sink) readSummaryHead(of summary.File) (*summary.Summary, error) {
	return s.parseSummary(of, summary.HeadSize, summary.ParseHead)
}

// parseSummary reads at most so many bytes of the summary of a file.
func (s *Sink) parseSummary(of summary.File, most int64, parse func([]byte) (*summary.Summary, error)) (
	*summary.Summary, error) {
	f, err := os.Open(summaryName(s.State, of.Generation))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxSummary {
		return nil, summary.ErrDamaged
	}
	b := make([]byte, min(fi.Size(), most))
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, err
	}
	sum, err := parse(b)
	if err == nil && sum.File != of {
		err = fmt.Errorf("%w: it is of another file", summary.ErrDamaged)
	}
	return sum, err
}
