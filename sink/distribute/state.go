package distribute

import (
	"fmt"
	"time"

	"github.com/tinylib/msgp/msgp"

	"fanin/internal/msgpack"
	"fanin/sink"
)

// saved is a group as it is written to the file of cursors.
type saved struct {
	name    string
	next    sink.Position
	waiting spans // and delayed, in flight or behind a member
	dead    []*deadSpan
	deadEnd int64
	counts  groupCounts
}

// stateLocked returns what is to be saved.
func (g *group) stateLocked() *saved {
	return &saved{name: g.name, next: g.next, waiting: g.outstandingLocked(), dead: g.dead.pending,
		deadEnd: g.dead.end, counts: g.counts}
}

// restore makes a group from its saved state.
func (s *saved) restore(d *Distributor) *group {
	g := newGroup(d, s.name, s.next)
	g.waiting, g.counts, g.dead = s.waiting, s.counts, deadLetters{s.dead, s.deadEnd}
	return g
}

func (s *saved) append(b []byte) []byte {
	b = msgp.AppendString(msgp.AppendArrayHeader(b, 10), s.name)
	b = msgp.AppendInt64(msgp.AppendUint64(b, s.next.Generation), s.next.Offset)
	b = msgp.AppendArrayHeader(b, uint32(len(s.waiting)))
	for _, x := range s.waiting {
		b = x.append(msgp.AppendArrayHeader(b, 5))
	}
	b = msgp.AppendArrayHeader(b, uint32(len(s.dead)))
	for _, l := range s.dead {
		b = l.span.append(msgp.AppendArrayHeader(b, 8))
		b = msgp.AppendInt64(msgp.AppendString(msgp.AppendString(b, l.Reason), l.Worker), l.Time.UnixMicro())
	}
	c := &s.counts
	for _, n := range []uint64{c.Accepted, c.Redelivered, c.Dead, c.Expired, uint64(s.deadEnd)} {
		b = msgp.AppendUint64(b, n)
	}
	return b
}

func (s span) append(b []byte) []byte {
	b = msgp.AppendInt64(msgp.AppendInt64(msgp.AppendUint64(b, s.generation), s.from), s.to)
	return msgp.AppendInt(msgp.AppendInt(b, s.lines), s.attempts)
}

// decodeGroups reads what saved.append wrote.
func decodeGroups(b []byte) (list []*saved, err error) {
	p := msgpack.Bytes{Rest: b}
	for range p.Array() {
		s := new(saved)
		p.ArrayOf(10)
		s.name = p.String()
		s.next = sink.Position{Generation: p.Uint(), Offset: int64(p.Uint())}
		for range p.Array() {
			p.ArrayOf(5)
			s.waiting = append(s.waiting, readSpan(&p))
		}
		for range p.Array() {
			p.ArrayOf(8)
			s.dead = append(s.dead, &deadSpan{span: readSpan(&p), Reason: p.String(), Worker: p.String(),
				Time: time.UnixMicro(int64(p.Uint())).UTC()})
		}
		c := &s.counts
		for _, to := range []*uint64{&c.Accepted, &c.Redelivered, &c.Dead, &c.Expired} {
			*to = p.Uint()
		}
		s.deadEnd = int64(p.Uint())
		list = append(list, s)
	}
	if p.Err == nil && len(p.Rest) > 0 {
		p.Err = fmt.Errorf("%d bytes too many", len(p.Rest))
	}
	return list, p.Err
}

// readSpan reads what span.append wrote.
func readSpan(b *msgpack.Bytes) span {
	return span{b.Uint(), int64(b.Uint()), int64(b.Uint()), int(b.Uint()), int(b.Uint())}
}
