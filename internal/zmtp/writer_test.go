package zmtp

import (
	"bytes"
	"net"
	"testing"
	"time"
)

// breaking is a connection that takes left bytes and then fails.
type breaking struct {
	script
	left      int
	deadlines int // how often one was set
}

func (b *breaking) Write(p []byte) (int, error) {
	n := min(b.left, len(p))
	b.left -= n
	if n < len(p) {
		return n, net.ErrClosed
	}
	return n, nil
}

func (b *breaking) SetWriteDeadline(time.Time) error {
	b.deadlines++
	return nil
}

// brokenSend sends two messages to a connection that fails after left bytes. It returns how many
// are counted as taken.
func brokenSend(first, body []byte, left int) int64 {
	c := &Conn{out: writer{nc: &breaking{left: left}}}
	if c.Send(first) == nil && c.Send(body) == nil {
		c.Flush()
	}
	return c.Taken()
}

// TestTakenOfBodies: what looks like frames in the body of a large message is none when its
// write fails: it is not counted, and its lengths are not believed.
func TestTakenOfBodies(t *testing.T) {
	for name, begin := range map[string][]byte{
		"short frames": {0, 1, 'x'},
		"endless":      {flagLong, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		body := bytes.Repeat(begin, 30000/len(begin))
		for _, left := range []int{0, 2, 3, 5, 12, 13, 10000, 29000} {
			if got := brokenSend([]byte("a"), body, left); got > 1 || left >= 3 && got != 1 {
				t.Errorf("%s: %d messages are counted as taken of %d bytes", name, got, left)
			}
		}
	}
}

// FuzzTaken: whatever is in messages and wherever the connection fails, Taken counts those that
// were written whole.
func FuzzTaken(f *testing.F) {
	f.Add([]byte("a"), []byte{flagLong, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint16(20000), uint16(10000))
	f.Add([]byte("a"), []byte{0, 1, 'x'}, uint16(1), uint16(5))
	f.Fuzz(func(t *testing.T, first, body []byte, repeat, left uint16) {
		if repeat = repeat % 5000; len(body) > 100 || len(first) > 1<<17 {
			return
		}
		body = bytes.Repeat(body, int(repeat))
		want := int64(0)
		for _, end := range []int{encodedSize(first), encodedSize(first) + encodedSize(body)} {
			if int(left) >= end {
				want++
			}
		}
		if got := brokenSend(first, body, int(left)); got != want {
			t.Fatalf("%d messages are counted, want %d", got, want)
		}
	})
}

func encodedSize(body []byte) int { return len(AppendMessage(nil, body)) }

// TestWriteDeadlineFollowsProgress: each piece of a large message has the whole timeout.
func TestWriteDeadlineFollowsProgress(t *testing.T) {
	nc := &breaking{left: 10 << 20}
	w := writer{nc: nc, timeout: time.Minute}
	if _, err := w.write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if nc.deadlines != 16 {
		t.Errorf("the deadline was set %d times for 1 MiB, want 16", nc.deadlines)
	}
}
