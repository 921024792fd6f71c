package depot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"fanin/internal/pace"
	"fanin/internal/retry"
	"fanin/sink"
)

// Copier copies the closed files of a log to a place, one after the other. Make it with New before the
// log is opened, Run it.
type Copier struct {
	// Marks returns the file with the Marks at the end of a generation, "" if there is none; may be nil.
	Marks func(generation uint64) (path string)

	sink     *sink.Sink
	place    Place
	store    store
	sizeOnly bool // what was sent is not read back
	log      *slog.Logger
	path     string // of what is saved
	governor *pace.Governor
	backoff  retry.Backoff // after a failure of the place
	wake     chan struct{} // of one: there may be another file
	counts   counts

	sent map[string]bool // objects that this process has sent, and that are not proven yet; only Run uses it

	mu      sync.Mutex
	owned   string             // the log that done is of; "": not known yet
	done    map[string]bool    // by stem: it is in the depot, or was given up
	dirty   bool               // done is not saved
	refused map[string]refusal // by stem
	trouble string             // why nothing is copied; "": files are copied
	told    telling
	now     *work // what is copied now; nil: nothing
}

// refusal is of a file that cannot be copied as things are. Those behind it are. One alone may be the
// fault of a connection.
type refusal struct {
	why   string
	times int       // in a row
	again time.Time // not before
}

// telling is what was logged about the place.
type telling struct {
	text string
	at   time.Time
}

// work is the copying of one file.
type work struct {
	generation uint64
	stop       context.CancelFunc
	ended      chan struct{}
}

const lostReason = "another process removed it, or moved it away"

// fileName is what a copier saves in the state of its log.
const fileName = "archive"

const (
	tellEvery   = time.Hour        // the same trouble is logged again
	askAgain    = 10 * time.Minute // a file that was refused several times is tried again; another trouble is logged
	lookEvery   = time.Minute
	firstPause  = time.Second
	longestWait = time.Minute
)

// New returns the copier of a log that will be opened. sizeOnly: what was sent is not read back.
func New(s *sink.Sink, state string, p Place, sizeOnly bool, log *slog.Logger) (*Copier, error) {
	st, err := p.open(s.Disk)
	if err != nil {
		return nil, err
	}
	c := &Copier{sink: s, place: p, store: st, sizeOnly: sizeOnly, log: log, path: filepath.Join(state, fileName),
		governor: pace.New(s.Worked, pace.KeepUp),
		backoff:  retry.Backoff{Min: firstPause, Max: longestWait, Jitter: true},
		wake:     make(chan struct{}, 1), sent: make(map[string]bool), done: make(map[string]bool),
		refused: make(map[string]refusal)}
	before, damaged := load(c.path)
	if damaged != nil {
		log.Warn("what was saved of the archive cannot be read; the archive is asked for each file instead", "err",
			damaged)
	}
	if before.To == p.identity() {
		c.owned = before.Log
		for _, stem := range before.Done {
			c.done[stem] = true
		}
	}
	s.SetArchive(sink.Consumers{Needed: c.needed, Expire: c.expire, Looked: c.wakeUp})
	return c, nil
}

// wakeUp has Run look soon. It never waits.
func (c *Copier) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run copies until ctx ends.
func (c *Copier) Run(ctx context.Context) {
	for {
		err := c.pass(ctx)
		c.save()
		if ctx.Err() != nil {
			return
		}
		c.tell(err)
		if err != nil {
			c.backoff.Wait(ctx)
			continue
		}
		c.backoff.Reset()
		c.await(ctx)
	}
}

// await waits until there may be something to copy.
func (c *Copier) await(ctx context.Context) {
	next := time.Now().Add(lookEvery)
	c.mu.Lock()
	for _, r := range c.refused {
		if r.again.Before(next) {
			next = r.again
		}
	}
	c.mu.Unlock()
	t := time.NewTimer(time.Until(next))
	defer t.Stop()
	select {
	case <-c.wake:
	case <-t.C:
	case <-ctx.Done():
	}
}

// pass copies what is to be copied now. An error is the place's, and holds for all files.
func (c *Copier) pass(ctx context.Context) error {
	for _, f := range c.waiting() {
		if f.Lost {
			if err := c.giveUp(ctx, f.Generation, lostReason); err != nil {
				return err
			}
			continue
		}
		err := c.copy(ctx, f.Generation)
		var refused *refusedError
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case errors.As(err, &refused) && c.missing(ctx, f.Generation):
			err = c.giveUp(ctx, f.Generation, lostReason)
		case refused != nil:
			c.refuse(f.Generation, refused)
			err = nil
		}
		if err != nil {
			c.counts.errors.Add(1)
			return fmt.Errorf("copy %s: %w", f.Name, err)
		}
	}
	return nil
}

// missing reports whether another process removed a file.
func (c *Copier) missing(ctx context.Context, g sink.Generation) bool {
	return c.sink.IsMissing(ctx, g) && slices.ContainsFunc(c.sink.Closed(), func(f sink.ClosedFile) bool {
		return f.Number == g.Number && f.Name == g.Name
	})
}

// waiting lists the files that may be copied now, oldest first, and forgets those that are gone.
func (c *Copier) waiting() (list []sink.ClosedFile) {
	closed := c.sink.Closed()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.claimLocked()
	there := make(map[string]bool)
	for _, f := range closed {
		stem := stemOf(f.Generation)
		there[stem] = true
		r := c.refused[stem]
		if !c.done[stem] && (f.Final || f.Lost) && !time.Now().Before(r.again) {
			list = append(list, f)
		}
	}
	gone := func(stem string) bool { return !there[stem] }
	before := len(c.done)
	maps.DeleteFunc(c.done, func(stem string, _ bool) bool { return gone(stem) })
	maps.DeleteFunc(c.refused, func(stem string, _ refusal) bool { return gone(stem) })
	c.dirty = c.dirty || len(c.done) != before
	return list
}

// copy copies one file, unless it is to expire.
func (c *Copier) copy(ctx context.Context, g sink.Generation) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stem := stemOf(g)
	w := &work{generation: g.Number, stop: stop, ended: make(chan struct{})}
	c.mu.Lock()
	if c.done[stem] { // it has expired meanwhile
		c.mu.Unlock()
		return nil
	}
	c.now = w
	c.mu.Unlock()
	err := (&copying{c: c, g: g, base: c.sink.LogID().String() + "/" + stem}).run(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(w.ended)
	c.now = nil
	if err == nil {
		c.done[stem], c.dirty = true, true
		delete(c.refused, stem)
		c.counts.files.Add(1)
		c.sink.LookAgain()
		c.log.Info("a file of the log is in the archive", "file", g.Name, "generation", g.Number, "to",
			c.place.String())
	} else if ctx.Err() != nil {
		return nil // it expires, or the collector stops
	}
	return err
}

// refuse keeps a file that cannot be copied as things are.
func (c *Copier) refuse(g sink.Generation, why *refusedError) {
	c.counts.errors.Add(1)
	stem := stemOf(g)
	c.mu.Lock()
	r := c.refused[stem]
	again := r.times == 1 || r.times > 1 && r.why != why.Error()
	r.why, r.times = why.Error(), min(r.times+1, 10)
	r.again = time.Now().Add(min(c.backoff.Min<<(2*r.times), askAgain))
	c.refused[stem] = r
	c.mu.Unlock()
	if again {
		c.log.Error("a file of the log cannot be archived; it is kept, and tried again", "file", g.Name,
			"generation", g.Number, "err", why)
	}
}

// tell logs that the place is in trouble, or no more, once.
func (c *Copier) tell(err error) {
	c.mu.Lock()
	before := c.trouble
	if c.trouble = ""; err != nil {
		c.trouble = err.Error()
	}
	since := time.Since(c.told.at)
	again := c.trouble != "" && (before == "" || since > tellEvery || since > askAgain && c.trouble != c.told.text)
	if again {
		c.told = telling{c.trouble, time.Now()}
	}
	c.mu.Unlock()
	switch {
	case again:
		c.log.Warn("files of the log cannot be archived now; they are kept, and tried again", "to", c.place.String(),
			"err", err)
	case before != "" && err == nil:
		c.log.Info("the archive takes files again", "to", c.place.String())
	}
}

// needed is the position that retention must keep.
func (c *Copier) needed() (sink.Position, bool) {
	closed := c.sink.Closed()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.claimLocked()
	for _, f := range closed {
		if !c.done[stemOf(f.Generation)] {
			return sink.Position{Generation: f.Number}, true
		}
	}
	return sink.Position{}, false
}

// Before is the generation before which all files are in the depot, or were given up.
func (c *Copier) Before() uint64 {
	live := c.sink.End().Generation // before the look
	if at, any := c.needed(); any {
		return min(at.Generation, live)
	}
	return live
}

// claimLocked forgets what was saved of another log, whose state was here before. The log must be open.
func (c *Copier) claimLocked() {
	if own := c.sink.LogID().String(); c.owned != own {
		clear(c.done)
		c.owned, c.dirty = own, true
	}
}

// expire gives up a file that is about to be removed.
func (c *Copier) expire(ctx context.Context, g, _ sink.Generation) error {
	for {
		c.mu.Lock()
		c.claimLocked()
		w := c.now
		c.mu.Unlock()
		if w == nil || w.generation != g.Number {
			return c.giveUp(ctx, g, "retention removed it before it was in the archive")
		}
		w.stop()
		select {
		case <-w.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// giveUp counts and reports the lines of a file that will never be copied.
func (c *Copier) giveUp(ctx context.Context, g sink.Generation, why string) error {
	stem := stemOf(g)
	c.mu.Lock()
	before := c.done[stem]
	c.done[stem], c.dirty = true, true // nothing begins to copy it
	c.mu.Unlock()
	if before {
		return nil
	}
	n, exact, err := c.sink.Count(ctx, sink.Position{Generation: g.Number}, sink.Position{Generation: g.Number + 1})
	if err != nil {
		c.mu.Lock()
		delete(c.done, stem)
		c.mu.Unlock()
		return fmt.Errorf("count the lines that were not archived: %w", err)
	}
	bound := ""
	if !exact {
		bound = " at_least=true"
	}
	c.counts.expired.Add(n)
	c.sink.Notice("UNARCHIVED lines=%d%s generation=%d file=%s reason=%q", n, bound, g.Number, g.Name, why)
	c.save()
	return nil
}

// save saves what is done, if it has changed.
func (c *Copier) save() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dirty {
		return
	}
	s := saved{Log: c.owned, To: c.place.identity(), Done: slices.Sorted(maps.Keys(c.done))}
	if err := s.store(c.sink.Disk, c.path); err != nil {
		c.log.Warn("what is in the archive cannot be saved; after a restart, the archive is asked for each file again",
			"err", err)
		return
	}
	c.dirty = false
}
