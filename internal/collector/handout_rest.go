package collector

import (
	"context"
	"sync"
	"time"

	"fanin/internal/cluster"
)

// rest is the server of a log that is open although its partition is not owned: groups have not
// finished what it has.
type rest struct {
	stop   context.CancelFunc
	done   chan struct{}
	needed time.Time // when it was, last
}

// How long a log stays open that no group needs, and the pause before one is opened again that could
// not be.
const (
	restLasts = 2 * time.Second
	restAgain = 5 * time.Second
)

// arrange opens the log of a partition that is not owned, if a group needs it, and closes it when none
// does.
func (h *handout) arrange(p int, groups map[string]cluster.Group, tenures []cluster.Tenure) {
	needed, fresh := false, len(groups) == 0 && len(tenures) == 0 // the bucket is new: this log has the groups
	for _, g := range groups {
		now, _ := tenuresFrom(tenures, g.Epoch)
		needed = needed || now != nil && now.Owner == h.c.ID && now.End != ""
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.resting[p]
	switch {
	case r != nil && (needed || fresh):
		r.needed = time.Now()
	case r != nil && time.Since(r.needed) > restLasts:
		r.stop()
	case r == nil && needed && !h.owned[p] && h.has(p, tenures):
		h.resting[p] = h.open(p)
	}
}

// has reports whether a log of the partition's tenures is on this machine.
func (h *handout) has(p int, tenures []cluster.Tenure) bool {
	logs := localLogs{settings: h.c.settings}
	k, err := logs.log(context.Background(), p)
	if err != nil {
		return false
	}
	id := k.LogID().String()
	for _, t := range tenures {
		if t.Log == id {
			return true
		}
	}
	return false
}

// open opens a log for groups alone.
func (h *handout) open(p int) *rest {
	ctx, cancel := context.WithCancel(context.Background())
	r := &rest{stop: cancel, done: make(chan struct{}), needed: time.Now()}
	go func() { // ends with ctx
		defer close(r.done)
		defer h.forgetRest(p, r)
		if err := h.c.rest(ctx, p); err != nil && ctx.Err() == nil {
			h.limited.Warn("rest", "the log of a former tenure cannot be opened for groups of workers; trying again",
				"partition", p, "err", err)
			pause(ctx, restAgain)
		}
	}()
	return r
}

func (h *handout) forgetRest(p int, r *rest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.resting[p] == r {
		delete(h.resting, p)
	}
}

// endRest closes a log that is open for groups alone, and waits until it is closed.
func (h *handout) endRest(p int) {
	h.mu.Lock()
	r := h.resting[p]
	h.mu.Unlock()
	if r != nil {
		r.stop()
		<-r.done
	}
}

// endRests closes all logs that are open for groups alone.
func (h *handout) endRests() {
	var all sync.WaitGroup
	for p := range h.director.Partitions {
		all.Go(func() { h.endRest(p) })
	}
	all.Wait()
}

// take keeps the log of a partition from being opened for groups alone, while it is owned.
func (h *handout) take(p int) (leave func()) {
	if h == nil {
		return func() {}
	}
	h.mu.Lock()
	h.owned[p] = true
	h.mu.Unlock()
	h.endRest(p)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.owned, p)
	}
}

// rest serves a log to groups alone, until ctx ends.
func (c *member) rest(ctx context.Context, p int) error {
	defer c.leftovers.take(p)()
	x, err := c.serverOf(p, func(s *settings) *settings {
		s = s.ofPartition(p)
		s.Collector.Inputs = nil
		return s
	})
	if err != nil {
		return err
	}
	if x.archive != nil {
		x.archive.Marks = (&ends{sink: x.sink}).path
	}
	return c.runServer(ctx, p, x)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
