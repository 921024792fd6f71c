package gelf

import (
	"cmp"
	"time"

	"fanin/ingest/datagram"
	"fanin/internal/counters"
)

// Datagrams handles messages in datagrams. Set the fields, then make its Format. Zero fields
// have the defaults named.
type Datagrams struct {
	Settings      Settings
	Inputs        *counters.Set                    // counts lines; shared by all inputs of a process; nil: its own
	Notice        func(format string, args ...any) // reports in the log of lines what was lost; nil: nothing does
	MaxIncomplete int64                            // memory for messages of which chunks are missing; default 8 MiB

	lines *counters.Input
}

// DefaultMaxIncomplete is the default of Datagrams.MaxIncomplete.
const DefaultMaxIncomplete = 8 << 20

// Format returns the row of p in a listener's table. It handles every datagram, so it is the
// last row.
func (p *Datagrams) Format() datagram.Format {
	p.Inputs = cmp.Or(p.Inputs, new(counters.Set))
	p.MaxIncomplete = cmp.Or(p.MaxIncomplete, DefaultMaxIncomplete)
	if p.Notice == nil {
		p.Notice = func(string, ...any) {}
	}
	p.Settings.prepare()
	metrics{p.Settings.Metrics}.prepare()
	p.lines = p.Inputs.New(inputName, counters.None)
	return func() datagram.Handler { return p.newReader().handle }
}

// inputName is the name of the input, in datagrams and over connections.
const inputName = "gelf"

// reader reads the datagrams of one socket.
type reader struct {
	p        *Datagrams
	scanner  *Scanner
	losses   losses
	chunks   *chunks
	unpacker unpacker
	line     []byte
	ticking  bool
}

func (p *Datagrams) newReader() *reader {
	r := &reader{p: p, scanner: p.Settings.New()}
	r.scanner.lines = p.lines
	r.losses = losses{metrics: r.scanner.metrics, lines: p.lines, notice: p.Notice,
		tallies: make(map[kindOfLoss]*tally)}
	r.chunks = newChunks(&r.losses, p.MaxIncomplete, p.Settings.MaxMessage)
	return r
}

func (r *reader) handle(s *datagram.Socket, d *datagram.Datagram) bool {
	if !r.ticking {
		r.ticking = true
		s.OnTick(r.tick)
	}
	from := s.Names(d.Peer)
	b := d.Data
	if isChunk(b) {
		if b = r.chunks.add(d.Peer, from.Address, b, time.Now()); b == nil {
			return true
		}
	}
	if how := packingOf(b); how != unpacked {
		packed := len(b)
		var reason string
		if b, reason = r.unpacker.unpack(b, how, r.p.Settings.MaxMessage); reason != "" {
			r.losses.message(reason, from.Address, packed)
			return true
		}
	}
	if b = trimStart(b); len(b) == 0 {
		s.Empty()
	}
	origin := Origin{Host: from.Host, Now: time.UnixMicro(d.Time)}
	for len(b) > 0 {
		line, labels, rest := r.scanner.Scan(r.line[:0], b, &origin)
		s.AddRecords(r.p.lines, d, labels, line)
		r.line, b = line, rest
	}
	return true
}

// tick forgets messages that did not become complete, reports what is lost, and releases the
// memory that one large message needed.
func (r *reader) tick(now time.Time) {
	r.chunks.expire(now)
	r.losses.flush(now.IsZero())
	r.losses.metrics.incompleteBytes().Set(float64(r.chunks.budget.Used()))
	r.scanner.trim()
	r.line, r.unpacker.out, r.chunks.joined = trim(r.line), trim(r.unpacker.out), trim(r.chunks.joined)
}

// trim drops a buffer that is larger than is usual.
func trim(b []byte) []byte {
	if cap(b) > 64<<10 {
		return nil
	}
	return b
}
