package ship

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"fanin/internal/wire"
)

// UDP is a lossy Appender: its nil means that the kernel took the datagrams, and
// nothing more. Each carries its place in its stream, so that the collector
// counts exactly what never came. A batch's text must be the source's own bytes,
// one for one, or one line alone.
type UDP struct {
	Addr     string // of the collector, as host:port; required
	Agent    string // who sends
	Host     string // whose lines
	Datagram int    // bytes at most, a longer single line excepted; default 1,400: no fragments on common networks

	mu      sync.Mutex
	conn    net.Conn
	dialled time.Time
	buf     []byte
	refused atomic.Uint64
}

var _ wire.Appender = (*UDP)(nil)

// largestDatagram is what IPv4 carries, less headers.
const largestDatagram = 65507

// frameRoom is what a lossy frame takes besides names and text, at most.
const frameRoom = 80

// Refused is how often the collector's machine said that nobody listens.
func (u *UDP) Refused() uint64 { return u.refused.Load() }

// Append sends b's lines, as many to a datagram as fit.
func (u *UDP) Append(ctx context.Context, b wire.Batch) error {
	if err := cmp.Or(b.Check(), ctx.Err()); err != nil {
		return err
	}
	if b.Op != wire.OpData {
		return nil // a lossy stream opens itself, and is answered by nobody
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.dial(ctx); err != nil {
		return err
	}
	b.Agent, b.Host, b.Kind = u.Agent, u.Host, wire.StreamLossy
	return u.split(b)
}

// redial is how often the collector's name is looked up: nobody says when it moved.
const redial = time.Minute

// dial makes a socket, or a new one now and then, and stays with what it has
// when that fails.
func (u *UDP) dial(ctx context.Context) error {
	if u.conn != nil && time.Since(u.dialled) < redial {
		return nil
	}
	c, err := new(net.Dialer).DialContext(ctx, "udp", u.Addr)
	if err != nil && u.conn == nil {
		return fmt.Errorf("send to %s: %w", u.Addr, err)
	}
	u.dialled = time.Now()
	if err == nil && u.conn != nil {
		u.conn.Close()
	}
	if err == nil {
		u.conn = c
	}
	return nil
}

// split sends the batch in parts of whole lines.
func (u *UDP) split(b wire.Batch) error {
	room := u.Datagram
	if room <= 0 {
		room = 1400
	}
	room = max(room-frameRoom-len(b.Agent)-len(b.Host)-len(b.Source), 1)
	exact := int64(len(b.Text)) == b.End-b.Offset
	for rest := b.Text; len(rest) > 0; {
		n, lines := len(rest), 0
		if exact {
			n, lines = lead(rest, room)
		}
		part := b
		part.Text, rest = rest[:n], rest[n:]
		if exact {
			part.End = part.Offset + int64(n)
		}
		if err := u.send(&part); err != nil {
			return err
		}
		b.Offset = part.End
		b.FirstLine += int64(lines)
	}
	return nil
}

// lead is how much of text goes first: whole lines within room, one at least,
// and not more of them than a collector takes at a time.
func lead(text []byte, room int) (n, lines int) {
	for lines < wire.MaxCutLines {
		end := bytes.IndexByte(text[n:], '\n') + 1
		if end == 0 || n > 0 && n+end > room {
			break
		}
		n, lines = n+end, lines+1
	}
	return n, lines
}

func (u *UDP) send(b *wire.Batch) error {
	u.buf = wire.AppendLossy(u.buf[:0], b)
	if len(u.buf) > largestDatagram {
		return &wire.Refused{Reason: fmt.Sprintf("a line of %d bytes does not fit into a datagram; set agent.max_line = \"60KiB\" or use tcp", len(b.Text))}
	}
	_, err := u.conn.Write(u.buf)
	if errors.Is(err, syscall.ECONNREFUSED) {
		u.refused.Add(1) // of an earlier one; this one was not sent
		_, err = u.conn.Write(u.buf)
		if errors.Is(err, syscall.ECONNREFUSED) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("send to %s: %w", u.Addr, err)
	}
	return nil
}

// Close gives the socket back.
func (u *UDP) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.conn == nil {
		return nil
	}
	return u.conn.Close()
}
