package sink

import (
	"encoding/binary"
	"errors"
	"strings"
	"unique"

	"fanin/internal/wire"
)

// names is what an open records of its stream: its owner, and its names.
// In a frame:
//
//	 0 kind      as in wire.StreamKind
//	 1 own       16 bytes: the id by which the owner calls the stream
//	17 agent, address, host, source, identity, each behind its length in two bytes
//
// Version 1 had agent, host, source and identity alone: the own id was the
// stream's, and the kind follows from the record and the agent, see kindV1.
type names struct {
	kind wire.StreamKind
	own  wire.StreamID
	agent, address, host,
	source, identity string
}

const namesHeader = 1 + len(wire.StreamID{})

func (n *names) append(dst []byte) []byte {
	dst = append(append(dst, byte(n.kind)), n.own[:]...)
	for _, s := range []string{n.agent, n.address, n.host, n.source, n.identity} {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(s)))
		dst = append(dst, s...)
	}
	return dst
}

var errNames = errors.New("the names are truncated")

func (n *names) parse(b []byte, v1 bool) (rest []byte, err error) {
	fields := []*string{&n.agent, &n.address, &n.host, &n.source, &n.identity}
	if v1 {
		fields = []*string{&n.agent, &n.host, &n.source, &n.identity}
	} else {
		if len(b) < namesHeader {
			return nil, errNames
		}
		n.kind = wire.StreamKind(b[0])
		b = b[1+copy(n.own[:], b[1:]):]
	}
	for _, field := range fields {
		if len(b) < 2 || len(b)-2 < int(binary.LittleEndian.Uint16(b)) {
			return nil, errNames
		}
		end := 2 + int(binary.LittleEndian.Uint16(b))
		*field, b = string(b[2:end]), b[end:]
	}
	return b, nil
}

// kindOfVersion1 is the kind of a stream that version 1 kept.
func kindOfVersion1(lossy bool, agent string) wire.StreamKind {
	switch {
	case lossy:
		return wire.StreamLossy
	case strings.HasPrefix(agent, "nats:"): // no agent's id has a colon
		return wire.StreamNATS
	}
	return wire.StreamAgent
}

// namesOf returns the names in b, which its listener and its open set.
func namesOf(b *wire.Batch) names {
	return names{kind: b.Kind, own: b.Stream, agent: b.Agent, address: b.Address, host: hostOf(b),
		source: sourceOf(b.Source, "-"), identity: string(b.Identity)}
}

// origin is what the streams of one sender have in common, and hold once.
type origin struct {
	kind                 wire.StreamKind
	agent, address, host string
}

// nameStream sets the names of st.
func (n *names) nameStream(st *stream) {
	st.own, st.identity = n.own, n.identity
	st.origin = unique.Make(origin{n.kind, n.agent, n.address, n.host})
	st.source = unique.Make(n.source).Value()
}

// names is what an open of st would record now.
func (st *stream) names() names {
	o := st.origin.Value()
	return names{o.kind, st.own, o.agent, o.address, o.host, st.source, st.identity}
}

// hasNames reports whether b's open has nothing new. An address that
// changed is nothing new: the stream counts for the one that began it.
func (st *stream) hasNames(b *wire.Batch) bool {
	n := namesOf(b)
	n.address = st.origin.Value().address
	return st.names() == n
}
