package distribute

import (
	"hash/maphash"
	"math"
)

// slotCount is the number of slots that keys fall into. A slot belongs to one member.
const slotCount = 1024

// keyLog is the key that all lines have in common: one worker has all of them, in the
// order of the log, and others only stand by. It has one delivery at a time, so that
// nothing waits behind a delivery that takes long, and no lease ends before its lines
// are looked at.
const keyLog = "log"

// slotOfLocked returns the slot of a line's key.
func (g *group) slotOfLocked(line []byte) int {
	if g.terms.key == keyLog {
		return 0
	}
	f := g.d.sink.Parts(line)
	var h maphash.Hash
	h.SetSeed(g.d.seed)
	if g.terms.key != "source" {
		h.Write(f.Host)
	}
	h.WriteByte(0)
	if g.terms.key != "host" {
		h.Write(f.Source)
	}
	return int(h.Sum64() % slotCount)
}

// dealLocked assigns each slot to a member, by weight. A member that comes or goes moves
// no more slots than its own.
func (g *group) dealLocked() {
	g.slots = make([]*member, slotCount)
	for i := range g.slots {
		best := 0.0
		for _, m := range g.members {
			if !m.active {
				continue
			}
			if score := g.d.score(m, i); g.slots[i] == nil || score > best {
				g.slots[i], best = m, score
			}
		}
	}
}

// dealJoiningLocked deals the slots again, to the members that wait for some, too, once
// nothing is in flight.
func (g *group) dealJoiningLocked() {
	if len(g.joining) == 0 || g.inFlight > 0 {
		return
	}
	for _, m := range g.members {
		g.releaseBehindLocked(m)
	}
	for _, m := range g.joining {
		m.active = true
	}
	g.joining = nil
	g.dealLocked()
	g.kick()
}

// releaseBehindLocked lets any member have the lines that waited behind one.
func (g *group) releaseBehindLocked(m *member) {
	for _, s := range m.behind {
		g.waiting.add(s)
	}
	m.behind = nil
	g.version++
}

// score ranks members for a slot: rendezvous hashing with weights.
func (d *Distributor) score(m *member, slot int) float64 {
	h := maphash.Comparable(d.seed, struct {
		id   uint64
		slot int
	}{m.id, slot})
	u := (float64(h>>11) + 0.5) / (1 << 53)
	return -float64(m.hello.Weight) / math.Log(u)
}
