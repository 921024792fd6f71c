package syslog

import (
	"math/bits"
	"time"
)

// count follows the numbers that one sender gives its messages. What it says is missing is
// missing: messages that come late, come twice, or come from several senders with one name do not
// make it say so, and a sender that was started again begins anew.
//
//	next-64 ... next-1   seen: what came; what did not and leaves here is lost
//	next                 the number to come
//	next+maxGap ...      far: believed if three come in a row
type count struct {
	next uint32
	seen uint64 // bit i: next-1-i came, or was before the first

	run      int    // numbers in a row at another place
	runNext  uint32 // the one that continues them
	lateNext uint32 // the one behind a late one that was the last to come; 0: none was
	odd      int    // how much out of order the numbers were lately
	mixed    bool   // they are of several senders: they say nothing

	lost  int       // missing for good, and not reported yet
	since time.Time // when the oldest of lost was noticed
	last  time.Time // when the last gap was
}

const (
	window    = 64        // numbers behind the last one that may still come
	maxGap    = 1000      // a number farther away is looked at twice
	maxOutage = 1 << 24   // numbers that a network can lose; beyond that, the sender counts anew
	believed  = 3         // numbers in a row that are no accident
	wraps     = 1<<31 - 1 // after this, sequenceId is 1 (RFC 5424, 7.3.1)

	oddStep = 4  // of odd, for each number out of order; each in order takes one off
	tooOdd  = 40 // as much as no network disorders
)

func newCount(n uint32) count { return count{next: n + 1, seen: ^uint64(0)} }

// see takes the number of a message. It reports whether the sender began to count anew.
func (c *count) see(n uint32, now time.Time) (restarted bool) {
	if c.mixed {
		return false
	}
	if n == 1 && c.next == wraps+1 {
		c.next = n
	}
	d := int64(int32(n - c.next)) // across the wrap of 32 bits
	switch {
	case d >= 0 && d <= maxGap:
		c.advance(int(d), now)
		return false
	case d < 0 && d >= -window:
		if late := uint64(1) << (-d - 1); c.seen&late == 0 {
			c.seen |= late
			if n != c.lateNext { // else the network held several back, which is one disorder
				c.disorder()
			}
			c.lateNext = n + 1
			return false
		}
	}
	return c.jump(n, d, now)
}

// advance takes the number behind the next missing ones.
func (c *count) advance(missing int, now time.Time) {
	c.lateNext = 0
	if c.run > 0 { // the numbers elsewhere were accidents
		c.run = 0
		if c.disorder(); c.mixed {
			return
		}
	} else if c.odd > 0 {
		c.odd--
	}
	if missing > 0 {
		c.last = now
	}
	leave := missing + 1
	if leave < window {
		gone := c.seen >> (window - leave)
		c.lose(leave-bits.OnesCount64(gone), now)
		c.seen = c.seen<<leave | 1
	} else {
		c.lose(window-bits.OnesCount64(c.seen)+leave-window, now)
		c.seen = 1
	}
	c.next += uint32(leave)
}

func (c *count) lose(n int, now time.Time) {
	if n > 0 && c.lost == 0 {
		c.since = now
	}
	c.lost += n
}

// jump takes a number that is far away, or came before.
func (c *count) jump(n uint32, d int64, now time.Time) (restarted bool) {
	if c.run == 0 || n != c.runNext {
		c.run = 0
	}
	c.run, c.runNext = c.run+1, n+1
	if c.run < believed {
		return false
	}
	forward := d > 0 && d < maxOutage
	c.lose(window-bits.OnesCount64(c.seen), now)
	if forward {
		c.lose(int(d)-(believed-1), now)
	}
	c.next, c.seen, c.run = n+1, ^uint64(0), 0
	return !forward
}

// disorder notes a number out of order.
func (c *count) disorder() {
	if c.odd += oddStep; c.odd > tooOdd {
		*c = count{mixed: true}
	}
}

// settled is how long a gap is old before it is believed: what is late has come by then.
const settled = 2 * time.Second

// take returns how many are missing that were not returned before.
func (c *count) take(now time.Time) int {
	if !c.last.IsZero() && now.Sub(c.last) >= settled {
		c.lose(window-bits.OnesCount64(c.seen), c.last)
		c.seen, c.last = ^uint64(0), time.Time{}
	}
	if c.lost == 0 || now.Sub(c.since) < settled {
		return 0
	}
	n := c.lost
	c.lost = 0
	return n
}
