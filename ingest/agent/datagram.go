package agent

import (
	"bytes"
	"cmp"
	"fmt"
	"time"

	"fanin/ingest"
	"fanin/ingest/datagram"
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// Datagrams handles agents' datagrams: lossy streams, sent once and never again.
type Datagrams struct {
	Inputs *counters.Set // counts lines; shared by all inputs of a process; nil: its own

	lines *counters.Input
}

// Format returns the row of p in a listener's table.
func (p *Datagrams) Format() datagram.Format {
	p.Inputs = cmp.Or(p.Inputs, new(counters.Set))
	p.lines = p.Inputs.New("udp-agent", counters.None)
	return func() datagram.Handler { return newLossyReader(p.lines).handle }
}

// lossyReader reads the frames of datagrams.
type lossyReader struct {
	lines *counters.Input
	from  bytes.Reader
	dec   *wire.Decoder
	text  [64 << 10]byte // for the text of a frame
}

func newLossyReader(in *counters.Input) *lossyReader {
	r := &lossyReader{lines: in}
	r.dec = wire.NewDecoder(&r.from)
	r.dec.Room = func(n int) ([]byte, error) {
		if n > len(r.text) {
			return nil, fmt.Errorf("%d bytes in a datagram", n)
		}
		return r.text[:n], nil
	}
	return r
}

func (r *lossyReader) handle(s *datagram.Socket, d *datagram.Datagram) bool {
	if !isLossy(d.Data) {
		return false
	}
	r.from.Reset(d.Data)
	r.dec.Reset(&r.from)
	var f wire.Frame
	if err := r.dec.Next(&f); err != nil || r.from.Len()+r.dec.Buffered() > 0 {
		return false
	}
	b := f.Batch
	if err := checkLossy(&b); err != nil {
		s.Refuse("an agent's datagram was refused", "agent", b.Agent, "error", err)
		return true
	}
	b.Address = s.Names(d.Peer).Address
	b.CorrectTime(time.UnixMicro(d.Time))
	s.AddBatch(r.lines, &b)
	return true
}

// isLossy reports whether data begins as a lossy frame: an array of 11 whose first
// element is the kind.
func isLossy(data []byte) bool {
	const kind = byte(wire.KindLossy)
	return len(data) > 2 && data[0] == 0x9b && (data[1] == kind || data[1] == 0xcc && data[2] == kind)
}

func checkLossy(b *wire.Batch) error {
	switch n := lines.Count(b.Text); {
	case b.Stream.IsZero():
		return &wire.Refused{Reason: "it names no stream"}
	case !ingest.ValidID(b.Agent):
		return &wire.Refused{Reason: fmt.Sprintf("agent id %q", b.Agent)}
	case n > wire.MaxCutLines:
		return &wire.Refused{Reason: fmt.Sprintf("%d lines in a datagram", n)}
	}
	return b.Check()
}
