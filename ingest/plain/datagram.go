package plain

import (
	"cmp"

	"fanin/ingest"
	"fanin/ingest/datagram"
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// Datagrams handles datagrams of plain lines. Set the fields, then make its Format. Zero
// fields have the defaults named.
type Datagrams struct {
	Inputs  *counters.Set // counts lines; shared by all inputs of a process; nil: its own
	Source  string        // of the lines; default "udp"
	MaxLine int           // longer lines are split; default wire.MaxLine, at least 256 bytes

	lines *counters.Input
}

// Format returns the row of p in a listener's table. It handles every datagram, so it is
// the last row.
func (p *Datagrams) Format() datagram.Format {
	p.Inputs = cmp.Or(p.Inputs, new(counters.Set))
	p.Source, p.MaxLine = cmp.Or(p.Source, "udp"), max(cmp.Or(p.MaxLine, wire.MaxLine), lines.MinLimit)
	p.lines = p.Inputs.New("udp", counters.None)
	return func() datagram.Handler { return p.handle }
}

func (p *Datagrams) handle(s *datagram.Socket, d *datagram.Datagram) bool {
	text := ingest.TrimEnd(d.Data)
	if len(text) == 0 {
		s.Empty()
		return true
	}
	if len(text) >= p.MaxLine {
		text = p.split(text)
	}
	s.AddLines(p.lines, d, wire.Labels{Host: s.Names(d.Peer).Host, Source: p.Source}, text)
	return true
}

// split splits the lines of a datagram that are too long.
func (p *Datagrams) split(text []byte) []byte {
	out, splits := lines.Split(nil, append(text, '\n'), p.MaxLine)
	p.lines.Split(splits)
	return out[:len(out)-1]
}
