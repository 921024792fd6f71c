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
// nothing more. Each datagram has its position in its stream, so that the collector counts
// exactly what never came. A batch's text must be the source's own bytes, one for one, or a
// single line.
type UDP struct {
	Addr     string // of the collector, as host:port; required
	Agent    string // the sender's id
	Host     string // of the lines
	Datagram int    // bytes at most, except for a longer single line; default 1,400: no fragments on common networks

	mu      sync.Mutex
	conn    net.Conn
	dialled time.Time
	buf     []byte
	refused atomic.Uint64
}

var _ wire.Appender = (*UDP)(nil)

// largestDatagram is what IPv4 carries, less headers.
const largestDatagram = 65507

// frameOverhead is the most that a lossy frame has besides names and text.
const frameOverhead = 80

// Refused returns how often the collector's machine reported that the port is closed.
func (u *UDP) Refused() uint64 { return u.refused.Load() }

// Append sends b's lines, as many to a datagram as fit.
func (u *UDP) Append(ctx context.Context, b wire.Batch) error {
	if err := cmp.Or(b.Check(), ctx.Err()); err != nil {
		return err
	}
	if b.Op != wire.OpData {
		return nil // a lossy stream opens itself, and nothing is answered
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.dial(ctx); err != nil {
		return err
	}
	b.Agent, b.Host, b.Kind = u.Agent, u.Host, wire.StreamLossy
	return u.split(b)
}

// redialEvery is how often the collector's name is looked up: nothing announces that its
// address changed.
const redialEvery = time.Minute

// dial makes a socket, and a new one now and then. If that fails, the old one stays in use.
func (u *UDP) dial(ctx context.Context) error {
	if u.conn != nil && time.Since(u.dialled) < redialEvery {
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
	limit := u.Datagram
	if limit <= 0 {
		limit = 1400
	}
	limit = max(limit-frameOverhead-len(b.Agent)-len(b.Host)-len(b.Source), 1)
	exact := int64(len(b.Text)) == b.End-b.Offset
	for rest := b.Text; len(rest) > 0; {
		n, lines := len(rest), 0
		if exact {
			n, lines = lead(rest, limit)
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

// lead returns how much of text is sent first: whole lines within limit, at least one, and
// not more of them than a collector accepts at a time.
func lead(text []byte, limit int) (n, lines int) {
	for lines < wire.MaxCutLines {
		end := bytes.IndexByte(text[n:], '\n') + 1
		if end == 0 || n > 0 && n+end > limit {
			break
		}
		n, lines = n+end, lines+1
	}
	return n, lines
}

func (u *UDP) send(b *wire.Batch) error {
	u.buf = wire.AppendLossy(u.buf[:0], b)
	if len(u.buf) > largestDatagram {
		return &wire.Refused{Reason: fmt.Sprintf("a line of %d bytes does not fit into a datagram; "+
			"set agent.max_line = \"60KiB\" or use tcp", len(b.Text))}
	}
	_, err := u.conn.Write(u.buf)
	if errors.Is(err, syscall.ECONNREFUSED) {
		u.refused.Add(1) // reported for an earlier datagram; this one was not sent
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

// Close closes the socket.
func (u *UDP) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.conn == nil {
		return nil
	}
	return u.conn.Close()
}
