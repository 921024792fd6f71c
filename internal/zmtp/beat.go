package zmtp

import (
	"cmp"
	"encoding/binary"
	"sync"
	"time"
)

// beat sends PINGs and notices a silent peer. A timer calls it, so a connection that is idle
// costs no goroutine.
type beat struct {
	c                 *Conn
	interval, timeout time.Duration
	ttl               [2]byte // what PINGs ask of the peer, in 0.1 s

	mu      sync.Mutex
	timer   *time.Timer // nil: nothing to do
	ended   bool
	patient time.Duration // how long the peer wants us to wait for it, 0: it does not say
	next    time.Time     // of the next PING
	asked   time.Time     // of the first PING since the peer was heard; zero: none
	last    time.Time     // of the peer's last PING
	theirs  time.Duration // the shortest time between two of its PINGs, 0: not known
}

// begin starts the heartbeats of a connection.
func (b *beat) begin(c *Conn, o *Options) {
	b.c = c
	if o.Heartbeat <= 0 || c.peer.Minor == 0 {
		return
	}
	b.interval, b.timeout = o.Heartbeat, o.HeartbeatTimeout
	if b.timeout <= 0 {
		b.timeout = b.interval
	}
	ttl := min(o.HeartbeatTTL/(100*time.Millisecond), maxTTL)
	binary.BigEndian.PutUint16(b.ttl[:], uint16(ttl))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = time.Now().Add(b.interval)
	b.timer = time.AfterFunc(b.interval, b.tick)
}

// stop ends the heartbeats. A tick may still be running.
func (b *beat) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	if b.timer != nil {
		b.timer.Stop()
	}
}

// shortGap is less than peers leave between PINGs: those that are closer waited to be read.
const shortGap = 100 * time.Millisecond

// pinged notes a PING. With a time to live the peer wants the connection to end if nothing of it
// arrives for so long. It expects something of us as often as it sends PINGs, also while the
// caller is busy and none is read.
func (b *beat) pinged(ttl time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if gap := now.Sub(b.last); !b.last.IsZero() && gap >= shortGap && (b.theirs == 0 || gap < b.theirs) {
		b.theirs = gap
	}
	b.last, b.patient = now, ttl
	if first := cmp.Or(ttl, b.theirs); first > 0 && b.timer == nil && !b.ended {
		b.timer = time.AfterFunc(first, b.tick)
	}
}

// tick ends the connection if the peer has been silent for too long, or sends a PING if it is
// time for one, or if the caller is busy and the peer waits for an answer.
func (b *beat) tick() {
	now := time.Now()
	b.mu.Lock()
	since := b.c.in.waiting()
	if limit := b.silent(now, since); limit > 0 {
		b.mu.Unlock()
		b.c.end(failf(TimedOut, "the peer sent nothing for %s, although it should answer heartbeats", limit))
		return
	}
	due := b.interval > 0 && !now.Before(b.next)
	if due {
		b.next = now.Add(b.interval)
		if b.asked.IsZero() || since.IsZero() || since.After(b.asked) {
			b.asked = now
		}
	}
	busy := b.theirs > 0 && since.IsZero()
	b.rearm(now, since)
	b.mu.Unlock()
	if due || busy {
		b.c.ping(b.ttl[:])
	}
}

// silent returns the limit that the peer's silence exceeds, 0 if none. since is when the
// connection began to wait for the peer, zero if it does not.
func (b *beat) silent(now, since time.Time) time.Duration {
	switch {
	case since.IsZero():
		return 0
	case b.patient > 0 && now.Sub(since) >= b.patient:
		return b.patient
	case !b.asked.IsZero() && !since.After(b.asked) && now.Sub(b.asked) >= b.timeout:
		return b.timeout
	}
	return 0
}

// rearm sets the timer for what may come first.
func (b *beat) rearm(now, since time.Time) {
	wait := time.Duration(1<<63 - 1)
	if b.interval > 0 {
		wait = b.next.Sub(now)
		if !b.asked.IsZero() && !since.After(b.asked) {
			wait = min(wait, b.asked.Add(b.timeout).Sub(now))
		}
	}
	if b.theirs > 0 {
		wait = min(wait, b.theirs)
	}
	if b.patient > 0 {
		rest := b.patient
		if !since.IsZero() {
			rest -= now.Sub(since)
		}
		wait = min(wait, rest)
	}
	if !b.ended && wait < 1<<63-1 {
		b.timer.Reset(max(wait, time.Millisecond))
	}
}

// ping sends a PING. While another goroutine writes it is left out: the peer gets that instead.
func (c *Conn) ping(ttl []byte) {
	if c.out.mu.TryLock() {
		c.out.command(ping, ttl)
		c.out.unlock()
	}
}
