package distribute

import (
	"fmt"
	"time"

	"github.com/tinylib/msgp/msgp"

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
	p := parser{b: b}
	for range p.array() {
		s := new(saved)
		p.expect(10)
		s.name = p.text()
		s.next = sink.Position{Generation: p.number(), Offset: int64(p.number())}
		for range p.array() {
			p.expect(5)
			s.waiting = append(s.waiting, p.span())
		}
		for range p.array() {
			p.expect(8)
			s.dead = append(s.dead, &deadSpan{span: p.span(), Reason: p.text(), Worker: p.text(),
				Time: time.UnixMicro(int64(p.number())).UTC()})
		}
		c := &s.counts
		for _, to := range []*uint64{&c.Accepted, &c.Redelivered, &c.Dead, &c.Expired} {
			*to = p.number()
		}
		s.deadEnd = int64(p.number())
		list = append(list, s)
	}
	if p.err == nil && len(p.b) > 0 {
		p.err = fmt.Errorf("%d bytes too many", len(p.b))
	}
	return list, p.err
}

// parser reads MessagePack. After an error it returns zeros.
type parser struct {
	b   []byte
	err error
}

func (p *parser) array() (n uint32) {
	if p.err == nil {
		n, p.b, p.err = msgp.ReadArrayHeaderBytes(p.b)
	}
	if p.err == nil && int(n) > len(p.b) {
		p.err = fmt.Errorf("an array of %d in %d bytes", n, len(p.b))
	}
	if p.err != nil {
		return 0
	}
	return n
}

func (p *parser) expect(n uint32) {
	if got := p.array(); p.err == nil && got != n {
		p.err = fmt.Errorf("an array of %d, want %d", got, n)
	}
}

func (p *parser) number() (n uint64) {
	if p.err == nil {
		n, p.b, p.err = msgp.ReadUint64Bytes(p.b)
	}
	return n
}

func (p *parser) text() (s string) {
	if p.err == nil {
		s, p.b, p.err = msgp.ReadStringBytes(p.b)
	}
	return s
}

func (p *parser) span() span {
	return span{p.number(), int64(p.number()), int64(p.number()), int(p.number()), int(p.number())}
}
