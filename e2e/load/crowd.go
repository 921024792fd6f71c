package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Crowd is many agents in one process, each with the real protocol over a connection of its own. They
// are lean, so that one processor has ten thousand of them: each is one goroutine, has one batch under
// way, and backs off as package ship does. In place of a file, each has a source whose lines are due
// at times that can be computed: nothing is kept of a line that waits, and a reader of the log knows
// when each was written. Line seq of agent n is line seq of source n, see Append.
//
// The tail hashes are not of the text: the collector cannot tell, since it never has the source.
type Crowd struct {
	Addrs  []string
	TLS    func(agent int) *tls.Config // nil: plain TCP
	Agents int
	Seed   Seed

	// Lines a second of an agent: agents have rates from Least to Most, evenly.
	Least, Most float64

	// Burst is how many lines at a time every tenth agent writes; up to 1: none does.
	Burst int

	// Restarts is the share of the agents that start anew each second, at random times.
	Restarts float64

	begun time.Time
	until atomic.Int64 // when lines end, UnixNano; 0: not yet
	all   []*crowdAgent

	handshakes chan struct{} // one for each that is under way

	mu     sync.Mutex
	broken error // the first promise that was not kept
}

// handshakesAtOnce is how many agents connect with TLS at a time. Each agent of a real fleet has a
// processor of its own. Here they share one: with all at once, each would take as long as all do.
const handshakesAtOnce = 256

// Begin fixes when the first lines are due. Call it before Run, Due and Rhythm.
func (c *Crowd) Begin(at time.Time) {
	c.begun = at
	c.handshakes = make(chan struct{}, handshakesAtOnce)
	c.all = make([]*crowdAgent, c.Agents)
	for n := range c.all {
		c.all[n] = newCrowdAgent(c, n)
	}
}

// Run runs all agents until ctx ends, and returns the first promise that was not kept.
func (c *Crowd) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	for _, a := range c.all {
		running.Go(func() { // ends with ctx
			if err := a.run(ctx); err != nil {
				c.breaks(fmt.Errorf("agent %d: %w", a.number, err))
				stop()
			}
		})
	}
	running.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

func (c *Crowd) breaks(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken == nil {
		c.broken = err
	}
}

// CrowdName is an agent's id.
func CrowdName(agent int) string { return fmt.Sprintf("crowd-%d", agent) }

// Ended reports whether End was called.
func (c *Crowd) Ended() bool { return c.until.Load() != 0 }

// End lets no line be due after now. Agents go on until all are acknowledged.
func (c *Crowd) End() { c.until.CompareAndSwap(0, time.Now().UnixNano()) }

// rhythm is when an agent's lines are due: burst of them at a time.
type rhythm struct {
	first time.Time
	every time.Duration // between two bursts
	burst int
}

// rhythm is that of an agent. Agents begin spread over the time between two of their lines.
func (c *Crowd) rhythm(agent int) rhythm {
	rate := c.Least
	if c.Agents > 1 {
		rate += (c.Most - c.Least) * float64(agent) / float64(c.Agents-1)
	}
	r := rhythm{burst: 1}
	if agent%10 == 0 && c.Burst > 1 {
		r.burst = c.Burst
	}
	r.every = time.Duration(float64(r.burst) / rate * float64(time.Second))
	const spread = 7919 // a prime, so that neighbours are not due one after the other
	r.first = c.begun.Add(r.every * time.Duration(agent*spread%c.Agents) / time.Duration(c.Agents))
	return r
}

// due is how many lines are due by a time.
func (r rhythm) due(at time.Time) int {
	since := at.Sub(r.first)
	if since < 0 {
		return 0
	}
	return (int(since/r.every) + 1) * r.burst
}

// at is when a line is due.
func (r rhythm) at(seq int) time.Time { return r.first.Add(time.Duration(seq/r.burst) * r.every) }

// Due is when an agent's source has a line.
func (c *Crowd) Due(agent, seq int) time.Time {
	if agent < 0 || agent >= c.Agents {
		return time.Time{}
	}
	return c.all[agent].at(seq)
}

// ended is now, or when lines ended.
func (c *Crowd) ended(now time.Time) time.Time {
	if end := c.until.Load(); end != 0 && now.UnixNano() > end {
		return time.Unix(0, end)
	}
	return now
}

// Written is how many lines each agent has been due so far.
func (c *Crowd) Written() map[int]int {
	all, now := make(map[int]int, c.Agents), c.ended(time.Now())
	for _, a := range c.all {
		all[a.number] = a.due(now)
	}
	return all
}

// CrowdState is how a crowd is doing.
type CrowdState struct {
	Back    int // agents with a session that began after the time asked for
	Behind  int // lines that are due and not acknowledged
	Acked   int // lines
	Batches int // that were acknowledged
	Resumed int // sessions that began where the collector's watermark said
}

// State sums up all agents; since is for CrowdState.Back.
func (c *Crowd) State(since time.Time) (s CrowdState) {
	now := c.ended(time.Now())
	for _, a := range c.all {
		if a.welcomed.Load() > since.UnixNano() {
			s.Back++
		}
		acked := int(a.acked.Load())
		s.Acked += acked
		s.Behind += a.due(now) - acked
		s.Batches += int(a.batches.Load())
		s.Resumed += int(a.resumed.Load())
	}
	return s
}

var errWentBack = errors.New("the collector's watermark is not a place between what it acknowledged and what was sent")
