package zmq

import (
	"encoding/binary"
	"hash/maphash"
	"sync"

	"fanin/internal/zmtp"
)

// sequences are the counters of all publishers. A publisher that is connected to keeps its
// counters when the connection breaks: what was missed meanwhile is then a gap. One that
// connects to us has no name, and begins anew.
type sequences struct {
	seed maphash.Seed

	mu   sync.Mutex
	kept map[string]*numbers // by endpoint
}

func newSequences() *sequences {
	return &sequences{seed: maphash.MakeSeed(), kept: make(map[string]*numbers)}
}

// of returns the counters of a peer.
func (s *sequences) of(n *Input, l *zmtp.Link) *numbers {
	fresh := &numbers{n: n, seed: s.seed, peer: l.Remote, next: make(map[uint64]uint32), most: maxTopics}
	if l.Accepted {
		fresh.most = maxUnknownTopics
		return fresh
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept[l.Remote] == nil {
		s.kept[l.Remote] = fresh
	}
	return s.kept[l.Remote]
}

// numbers are the counters of one publisher. Its messages end with a frame that counts the
// messages of their topic:
//
//	frame 0        topic, up to 1 MiB
//	frames 1 to k  text
//	frame k+1      4 bytes, the lowest first: 0, 1, 2 ... 4294967295, 0 ...
//
// (Bitcoin Core, doc/zmq.md: "the last part is a sequence number".)
type numbers struct {
	n    *Input
	seed maphash.Seed
	peer string
	next map[uint64]uint32 // by hash of the topic: the number that follows
	most int               // topics in next; then all begin anew, which is counted
}

const (
	counterSize = 4
	maxTopics   = 1 << 16 // topics of a peer that we connect to

	maxUnknownTopics = 1 << 10 // topics of a peer that connects to us, so that it costs less than 64 KiB

	// maxWrapGap is how many messages may be missing around the wrap of a counter. A counter
	// that falls further is one of a sender that was started again.
	maxWrapGap = 1 << 16
)

// check looks at the counter of a message of several frames, and returns the frames before it.
func (s *numbers) check(frames [][]byte) [][]byte {
	last := len(frames) - 1
	if len(frames[last]) != counterSize {
		s.n.counts.unnumbered.Inc()
		return frames
	}
	got := binary.LittleEndian.Uint32(frames[last])
	topic := maphash.Bytes(s.seed, frames[0])
	want, known := s.next[topic]
	if !known && len(s.next) >= s.most {
		s.n.counts.forgotten.Add(float64(len(s.next)))
		clear(s.next)
	}
	s.next[topic] = got + 1
	if known && got != want {
		s.gap(want, got, frames[0])
	}
	return frames[:last]
}

// gap counts the messages that are missing before number got.
func (s *numbers) gap(want, got uint32, topic []byte) {
	missing := got - want // around the wrap, too
	if got < want && missing >= maxWrapGap {
		s.n.counts.restarts.Inc()
		s.n.report.add(restarted, 1, s.peer)
		missing = got // since its start
	}
	if missing > 0 {
		s.n.counts.missing.Add(float64(missing))
		s.n.report.addOf(gap, int(missing), s.peer, topic)
	}
}
