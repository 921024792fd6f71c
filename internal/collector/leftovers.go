package collector

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"fanin/internal/cluster"
	"fanin/internal/retry"
	"fanin/sink"
	"fanin/sink/depot"
)

// leftovers copies what logs still have to the archive whose partitions are at other collectors by now.
// Without that, the last file of each would stay open until the partition comes back, and the stream
// would keep its messages for so long.
type leftovers struct {
	c       *member
	limited *retry.Log
	life    context.Context
	stop    context.CancelFunc

	mu      sync.Mutex
	taken   map[int]int       // by how many servers the log of a partition is, or will be, open
	copied  map[int]bool      // those that have nothing more to copy
	running map[int]*leftover // those that are being copied
}

// leftover is the copying of one log.
type leftover struct {
	stop  context.CancelFunc
	ended chan struct{}
}

// newLeftovers begins to copy; nil: there is no archive.
func newLeftovers(c *member) *leftovers {
	if c.settings.Collector.Archive == nil {
		return nil
	}
	l := &leftovers{c: c, limited: retry.NewLog(c.log), taken: make(map[int]int), copied: make(map[int]bool),
		running: make(map[int]*leftover)}
	l.life, l.stop = context.WithCancel(context.Background())
	go l.run() // ends by end
	return l
}

// leftoversEvery is how often partitions are looked for that have left.
const leftoversEvery = time.Second

func (l *leftovers) run() {
	for retry.Pause(l.life, leftoversEvery) == nil {
		for p := range l.c.Partitions {
			l.begin(p)
		}
	}
}

// begin copies the log of a partition that is not owned, if there is something to copy.
func (l *leftovers) begin(p int) {
	_, err := os.Stat(filepath.Join(l.c.settings.ofPartition(p).state(), "checkpoint"))
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || l.taken[p] > 0 || l.copied[p] || l.running[p] != nil || l.life.Err() != nil {
		return
	}
	ctx, stop := context.WithCancel(l.life)
	x := &leftover{stop, make(chan struct{})}
	l.running[p] = x
	go func() { // ends by take or end, or when all is copied
		done, err := l.copy(ctx, p)
		if err != nil && ctx.Err() == nil {
			l.limited.Warn("leftover", "the log of a partition that left cannot be copied to the archive; trying again",
				"partition", p, "err", err)
			retry.Pause(ctx, time.Minute)
		}
		stop()
		l.mu.Lock()
		l.copied[p] = done
		delete(l.running, p)
		l.mu.Unlock()
		close(x.ended)
	}()
}

// take waits until nothing more is done with the log of a partition, which another server is about to
// open, until leave is called.
func (l *leftovers) take(p int) (leave func()) {
	if l == nil {
		return func() {}
	}
	l.mu.Lock()
	l.taken[p]++
	x := l.running[p]
	l.mu.Unlock()
	if x != nil {
		x.stop()
		<-x.ended
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.taken[p], l.copied[p] = l.taken[p]-1, false
	}
}

// end ends the copying. What is not complete begins again after the next start.
func (l *leftovers) end() {
	if l == nil {
		return
	}
	l.stop()
	l.mu.Lock()
	all := l.running
	l.running = nil // none begins any more
	l.mu.Unlock()
	for _, x := range all {
		<-x.ended
	}
}

// copy closes the file of the log of a partition, and copies all that is not in the archive. done is false
// if it is not known yet where the tenure of the log has ended.
func (l *leftovers) copy(ctx context.Context, p int) (done bool, err error) {
	own := l.c.settings.ofPartition(p)
	k, err := sink.Observe(ctx, own.Collector.Log.Path, own.state(), own.Collector.Log.Format)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	t, ended := lastOf(l.c.Tenures(p), k.LogID().String())
	if !ended {
		return false, nil
	}
	place, err := own.Collector.Archive.tlsPlace(l.c.log)
	if err != nil {
		return false, err
	}
	s := own.sink()
	s.Log, s.Modes.WAL = l.c.log.With("partition", p), partitionWAL
	copier, err := depot.New(s, own.state(), place, own.Collector.Archive.Check == "size", s.Log)
	if err != nil {
		return false, err
	}
	at := &ends{sink: s, log: s.Log, last: cluster.Message{Number: t.Last}}
	s.OnClose(at.closing)
	copier.Marks = at.path
	if err := s.Open(ctx); err != nil {
		return false, err
	}
	defer func() {
		within, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if failed := s.Close(within); err == nil {
			err = failed
		}
	}()
	if _, err := s.Rotate(ctx); err != nil {
		return false, fmt.Errorf("close the file: %w", err)
	}
	err = awaitArchive(ctx, s, copier)
	return err == nil, err
}

// lastOf is the last tenure of a log. ended is false while it is not known where that ends.
func lastOf(all []cluster.Tenure, log string) (t cluster.Tenure, ended bool) {
	for _, t := range slices.Backward(all) {
		if t.Log == log {
			return t, t.End != ""
		}
	}
	return t, len(all) > 0 // it has none: nothing of it counts
}
