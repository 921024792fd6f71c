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

// summarizer writes the summaries of files, on a goroutine of its own: of the live one and of one
// that was just rotated what the writer counted, of all others what it counts itself, one file
// after another, the newest first. It takes half of a core at most, and less while the writer
// has much to do. What was done is on the disk, so another start continues where it was.
type summarizer struct {
	s        *Sink
	live     liveSummary
	outlines *outlines
	warnings *retry.Log
	wake     chan struct{}
	cancel   context.CancelFunc
	done     sync.WaitGroup
	whole    map[uint64]bool // files whose summaries were read, or written, since the start
	saved    savedSummaries
	missing  missingSummaries
	made     summaryCounts
}

// savedSummaries is what was saved last of what changes all the time.
type savedSummaries struct {
	at   time.Time
	live summary.File
}

// saveEvery is how often outlines and the counts of the live file are saved: so much is counted again after
// a crash.
const saveEvery = time.Minute

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
	return &summarizer{s: s, outlines: newOutlines(s), warnings: retry.NewLog(s.Log), wake: make(chan struct{}, 1),
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
	first := errors.Join(x.writeClosed(), x.countLive(ctx))
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
		first = errors.Join(first, x.writeClosed(), x.save(saveEvery))
	}
	return errors.Join(first, x.save(saveEvery))
}

// save saves outlines and the counts of the live file, unless that was done a moment ago.
func (x *summarizer) save(every time.Duration) error {
	if time.Since(x.saved.at) < every {
		return nil
	}
	x.saved.at = time.Now()
	return errors.Join(x.outlines.save(), x.saveLive())
}

// saveLast saves what the next start would count again. The writer has ended.
func (x *summarizer) saveLast() {
	if err := errors.Join(x.writeClosed(), x.save(0)); err != nil {
		x.warnings.Warn("save summary", "cannot save the summary of a file of the log; the next start counts "+
			"its lines again", "err", err)
	}
}

// saveLive writes the summary of the live file as it is now.
func (x *summarizer) saveLive() error {
	f, text, err := x.live.whole()
	if err != nil || text == nil || f.Size == 0 || f == x.saved.live {
		return err
	}
	if err := x.s.replaceSummary(summaryName(x.s.State, f.Generation), text); err != nil {
		return err
	}
	x.saved.live = f
	return nil
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

// has reports whether a file's summary is there. If it has no outline and there is room for one, it is read whole
// for that.
func (x *summarizer) has(generation uint64) bool {
	if x.whole[generation] {
		return true
	}
	f, ok := x.s.summaryFile(generation)
	if !ok {
		return false
	}
	read := x.s.readSummaryHead
	outline := x.outlines.get(f).head == nil && !x.outlines.full()
	if outline {
		read = x.s.readSummary
	}
	sum, err := read(f)
	if err == nil && outline {
		x.outlines.set(sum)
	}
	x.whole[generation] = err == nil
	return err == nil
}

// forgetDamaged has the summaries made again that requests could not read.
func (x *summarizer) forgetDamaged() {
	x.missing.mu.Lock()
	defer x.missing.mu.Unlock()
	for _, generation := range x.missing.found {
		delete(x.whole, generation)
		x.outlines.forget(generation)
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
	path, text := summaryName(x.s.State, f.Generation), t.Append(nil, f)
	if err := x.s.writeSummary(path, text); err != nil {
		return err
	}
	if sum, err := summary.Parse(text); err == nil {
		x.outlines.set(sum)
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
	t := summary.NewTally()
	err := x.s.tally(ctx, t, g, 0, f.Size)
	var gone *GoneError
	if errors.As(err, &gone) || errors.Is(err, fs.ErrNotExist) {
		return nil // just now, and nothing of it is to be counted
	}
	if err != nil {
		return fmt.Errorf("count the lines of %s: %w", g.Name, err)
	}
	return x.write(f, t)
}

// countLive counts the lines that were in the live file when the log was opened, as far as that was not saved.
func (x *summarizer) countLive(ctx context.Context) error {
	f := x.live.uncounted()
	if f.Size == 0 {
		return nil
	}
	for _, g := range x.s.files() {
		if g.Number != f.Generation {
			continue
		}
		t, from := x.savedCounts(f)
		err := x.s.tally(ctx, t, g, from, f.Size)
		if errors.Is(err, errUnreadable) {
			return nil // after its rotation all of it is counted
		}
		if err != nil {
			return fmt.Errorf("count the lines of %s: %w", g.Name, err)
		}
		x.live.setBefore(f, t)
	}
	return nil
}

// savedCounts returns what was saved of the counts of the live file, and of how much of it they are. Only text that
// is committed is counted: after a crash it is at the same place in the same file, or the log goes on in another one.
func (x *summarizer) savedCounts(f summary.File) (t *summary.Tally, size int64) {
	t = summary.NewTally()
	sum, err := x.s.parseSummary(f.Generation, maxSummary, summary.Parse)
	if err != nil {
		return t, 0
	}
	most := f.Size
	f.Size = sum.File.Size
	if sum.File != f || f.Size < 0 || f.Size > most {
		return t, 0
	}
	t.AddSummary(sum)
	return t, f.Size
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

// replaceSummary is writeSummary where the one before counts if this one cannot be written, as on a full disk.
func (s *Sink) replaceSummary(path string, b []byte) error {
	tmp := path + ".new"
	err := s.writeSummary(tmp, b)
	if err == nil {
		err = s.Disk.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// readSummary reads the summary of a file, and no other's.
func (s *Sink) readSummary(of summary.File) (*summary.Summary, error) {
	return ofFile(of)(s.parseSummary(of.Generation, maxSummary, summary.Parse))
}

// readSummaryHead reads the beginning of a summary.
func (s *Sink) readSummaryHead(of summary.File) (*summary.Summary, error) {
	return ofFile(of)(s.parseSummary(of.Generation, summary.HeadSize, summary.ParseHead))
}

// ofFile passes on what was read, if it is of that file.
func ofFile(of summary.File) func(*summary.Summary, error) (*summary.Summary, error) {
	return func(sum *summary.Summary, err error) (*summary.Summary, error) {
		if err == nil && sum.File != of {
			err = fmt.Errorf("%w: it is of another file", summary.ErrDamaged)
		}
		return sum, err
	}
}

// parseSummary reads at most so many bytes of the summary of a generation.
func (s *Sink) parseSummary(generation uint64, most int64, parse func([]byte) (*summary.Summary, error)) (
	*summary.Summary, error) {
	f, err := os.Open(summaryName(s.State, generation))
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
	return parse(b)
}
