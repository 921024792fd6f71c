package ingest

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"fanin/internal/lines"
	"fanin/internal/origin"
	"fanin/internal/wire"
)

// sorter turns datagrams into lines and puts them into the queue, each to its
// host's or stream's.
type sorter struct {
	u     *UDP
	q     *queue
	from  bytes.Reader
	dec   *wire.Decoder
	text  [maxDatagram]byte // what dec reads a text into
	hosts map[netip.Addr]peerNames
}

func newSorter(u *UDP, q *queue) *sorter {
	s := &sorter{u: u, q: q, hosts: make(map[netip.Addr]peerNames)}
	s.dec = wire.NewDecoder(&s.from)
	s.dec.Room = func(n int) ([]byte, error) {
		if n > len(s.text) {
			return nil, fmt.Errorf("%d bytes in a datagram", n)
		}
		return s.text[:n], nil
	}
	return s
}

// put takes one datagram, which arrived at now. What is no agent's datagram is text.
func (s *sorter) put(host netip.Addr, data []byte, now int64) {
	if isLossy(data) && s.putLossy(host, data, now) {
		return
	}
	data = TrimLine(data)
	if len(data) == 0 {
		s.u.Metrics.empty.Inc()
		return
	}
	if len(data) >= s.u.MaxLine {
		data = s.split(data)
	}
	lines := lines.Count(data) + 1
	s.u.plainLines.Received(lines, len(data)+1)
	s.q.put(key{host: host}, wire.Batch{Time: now, Input: "udp", Host: s.names(host).host, Source: s.u.Source, Text: data}, lines)
}

// split cuts the lines of a datagram that are too long.
func (s *sorter) split(data []byte) []byte {
	out, splits := lines.Split(nil, append(data, '\n'), s.u.MaxLine)
	s.u.plainLines.Split(splits)
	return out[:len(out)-1]
}

// trim drops the end of the last line, a newline or NULs or both, and makes newlines of
// NULs within where they end lines. It changes data.
func TrimLine(data []byte) []byte {
	var e LineEnds
	if e.look(data, len(data)); e.nuls {
		return bytes.TrimSuffix(e.normal(data, false), newline)
	}
	data = bytes.TrimSuffix(bytes.TrimRight(data, "\x00"), newline)
	return bytes.TrimRight(data, "\x00")
}

// peerNames is where datagrams come from, as text.
type peerNames struct{ host, address string }

// names names a host, and what counts as its address. Addresses of datagrams can be
// made up, so what is remembered is bounded.
func (s *sorter) names(host netip.Addr) peerNames {
	x, ok := s.hosts[host]
	if !ok {
		if len(s.hosts) >= 1024 {
			clear(s.hosts)
		}
		x = peerNames{host.WithZone("").String(), origin.Name(host)}
		s.hosts[host] = x
	}
	return x
}

// isLossy reports whether data begins as a lossy frame: an array of 11 whose
// first element is the kind.
func isLossy(data []byte) bool {
	return len(data) > 2 && data[0] == 0x9b && (data[1] == byte(wire.KindLossy) || data[1] == 0xcc && data[2] == byte(wire.KindLossy))
}

// putLossy takes an agent's datagram; false: it is none.
func (s *sorter) putLossy(host netip.Addr, data []byte, now int64) bool {
	s.from.Reset(data)
	s.dec.Reset(&s.from)
	var f wire.Frame
	if err := s.dec.Next(&f); err != nil || s.from.Len()+s.dec.Buffered() > 0 {
		return false
	}
	b := f.Batch
	b.Input = "udp-agent"
	lines := lines.Count(b.Text)
	if err := checkLossy(&b, lines); err != nil {
		s.u.Metrics.refusedDatagrams.Inc()
		s.u.limited.Warn("udp_refused", "an agent's datagram was refused", "agent", b.Agent, "error", err)
		return true
	}
	s.u.agentLines.Received(lines, len(b.Text))
	b.Address = s.names(host).address
	b.CorrectTime(time.UnixMicro(now))
	s.q.put(key{stream: b.Stream.Owned(b.Kind, b.Agent)}, b, lines)
	return true
}

func checkLossy(b *wire.Batch, lines int) error {
	switch {
	case b.Stream.IsZero():
		return &wire.Refused{Reason: "it names no stream"}
	case !ValidID(b.Agent):
		return &wire.Refused{Reason: fmt.Sprintf("agent id %q", b.Agent)}
	case lines > wire.MaxCutLines:
		return &wire.Refused{Reason: fmt.Sprintf("%d lines in a datagram", lines)}
	}
	return b.Check()
}
