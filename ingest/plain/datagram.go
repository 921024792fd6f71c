package plain

import (
	"bytes"
	"cmp"
	"time"

	"fanin/ingest"
	"fanin/ingest/datagram"
	"fanin/ingest/syslog"
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// Datagrams handles datagrams: one of syslog is one message (RFC 5426), any other is plain
// lines. Set the fields, then make its Format. Zero fields have the defaults named.
type Datagrams struct {
	Inputs  *counters.Set    // counts lines; shared by all inputs of a process; nil: its own
	Input   string           // the input's name; default "udp"
	Source  string           // of the lines; default "udp"
	MaxLine int              // longer lines are split; default wire.MaxLine, at least 256 bytes
	Syslog  *syslog.Settings // how messages of syslog are understood; nil: all are lines as they are

	lines *counters.Input
}

// Format returns the row of p in a listener's table. It handles every datagram, so it is
// the last row.
func (p *Datagrams) Format() datagram.Format {
	p.Inputs = cmp.Or(p.Inputs, new(counters.Set))
	p.Input = cmp.Or(p.Input, "udp")
	p.Source, p.MaxLine = cmp.Or(p.Source, "udp"), max(cmp.Or(p.MaxLine, wire.MaxLine), lines.MinLimit)
	p.lines = p.Inputs.New(p.Input, counters.None)
	return func() datagram.Handler {
		h := &handler{Datagrams: p}
		if p.Syslog != nil {
			h.scan = p.Syslog.New()
		}
		return h.handle
	}
}

// handler handles the datagrams of one socket.
type handler struct {
	*Datagrams
	scan  *syslog.Scanner // nil: all are lines as they are
	pid   int             // of the datagram before
	named string          // the source with it
	text  []byte          // memory for a line
	parts []byte          // and for its parts, if it is too long
}

func (h *handler) handle(s *datagram.Socket, d *datagram.Datagram) bool {
	if h.scan != nil {
		if _, size := ingest.Priority(d.Data); size > 0 || h.Syslog.Any {
			h.message(s, d)
			return true
		}
	}
	text := ingest.TrimEnd(d.Data)
	if len(text) == 0 {
		s.Empty()
		return true
	}
	if len(text) >= h.MaxLine {
		text = h.split(text)
	}
	labels := wire.Labels{Host: s.Names(d.Peer).Host, Source: h.source(d.PID)}
	if h.scan == nil {
		s.AddLines(h.lines, d, labels, text)
		return true
	}
	s.AddRecords(h.lines, d, labels, h.records(text))
	return true
}

// source is that of lines of a process; 0: it is not known.
func (h *handler) source(pid int) string {
	if h.named == "" || pid != h.pid {
		h.pid, h.named = pid, withPID(h.Source, pid)
	}
	return h.named
}

// message adds the line of a message of syslog.
func (h *handler) message(s *datagram.Socket, d *datagram.Datagram) {
	if len(bytes.TrimRight(d.Data, "\x00\n")) == 0 {
		s.Empty()
		return
	}
	from := syslog.Origin{Host: s.Names(d.Peer).Host, PID: d.PID, Now: time.UnixMicro(d.Time)}
	text, labels := h.scan.Scan(h.text[:0], d.Data, &from)
	h.text = text
	if len(text) >= h.MaxLine {
		h.parts, _ = lines.SplitRecord(h.parts[:0], text, h.MaxLine)
		text = h.parts
		h.lines.Split(1)
	}
	s.AddRecords(h.lines, d, labels, text)
}

// records makes records of lines: most often the lines themselves.
func (h *handler) records(text []byte) []byte {
	if !wire.IsRecord(text) {
		return text
	}
	h.text = h.text[:0]
	for line := range bytes.Lines(text) {
		line, ended := bytes.CutSuffix(line, []byte{'\n'})
		if h.text = wire.AppendRecord(h.text, line); ended {
			h.text = append(h.text, '\n')
		}
	}
	return h.text
}

// split splits the lines of a datagram that are too long.
func (h *handler) split(text []byte) []byte {
	out, splits := lines.Split(nil, append(text, '\n'), h.MaxLine)
	h.lines.Split(splits)
	return out[:len(out)-1]
}
