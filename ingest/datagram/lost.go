package datagram

import (
	"errors"

	"fanin/internal/wire"
)

// lost counts and reports lines that may not be written: they cannot be sent again.
func (q *queue) lost(b *queued, err error) {
	if !errors.Is(err, wire.ErrRefused) && !errors.As(err, new(*wire.Expected)) { // else the sink has counted them
		b.in.Unsure(b.lines)
	}
	q.l.limited.Warn("udp_append", "lines of datagrams were not written",
		"host", b.Host, "lines", b.lines, "error", err)
}
