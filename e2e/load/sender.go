package load

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// Sender sends the lines of one source over a plain connection or in datagrams,
// one a datagram, from first to last. Nothing answers it, so it knows only what
// it sent.
type Sender struct {
	Network string // "tcp" or "udp"
	Addr    string
	Seed    Seed
	Source  int
	Lines   int           // how many; 0: until it is stopped
	Rate    int           // lines a second; 0: as fast as they are taken
	Again   time.Duration // after an error, try again this much later; 0: end with the error

	sent atomic.Int64
}

// burst is how many lines are written at a time over a connection.
const burst = 256

// Sent is how many lines were given to the kernel, at least in part.
func (s *Sender) Sent() int { return int(s.sent.Load()) }

// Run sends until all lines are sent or stop is closed, and closes the
// connection behind the last line.
func (s *Sender) Run(stop <-chan struct{}) error {
	for {
		err := s.connection(stop)
		if err == nil || s.Again == 0 {
			return err
		}
		select {
		case <-stop:
			return nil
		case <-time.After(s.Again):
		}
	}
}

// connection sends over one connection. Lines that it may have lost are not
// sent again: a program with a plain socket cannot know.
func (s *Sender) connection(stop <-chan struct{}) error {
	conn, err := net.Dial(s.Network, s.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	var b []byte
	began, first := time.Now(), s.Sent()
	for s.Lines == 0 || s.Sent() < s.Lines {
		select {
		case <-stop:
			return nil
		default:
		}
		n := s.few()
		b = s.Seed.Block(b[:0], s.Source, s.Sent(), n)
		s.sent.Add(int64(n))
		if _, err := conn.Write(b); err != nil && !(s.Network == "udp" && errors.Is(err, syscall.ECONNREFUSED)) {
			return fmt.Errorf("send to %s: %w", s.Addr, err)
		}
		if s.Rate > 0 {
			due := began.Add(time.Duration(s.Sent()-first) * time.Second / time.Duration(s.Rate))
			time.Sleep(time.Until(due))
		}
	}
	return nil
}

// few is how many lines go out at a time: one in a datagram, and no more than a
// paced sender sends in 10 ms.
func (s *Sender) few() int {
	n := burst
	if s.Network == "udp" {
		n = 1
	} else if s.Rate > 0 {
		n = min(n, max(1, s.Rate/100))
	}
	if s.Lines > 0 {
		n = min(n, s.Lines-s.Sent())
	}
	return n
}
