package gelf

import "time"

// done remembers the messages that ended lately, complete or not. Its zero value is ready.
type done struct {
	known map[messageID]time.Time
	ring  []messageID // in the order in which they ended
	next  int         // where the next one goes
}

// maxDone bounds what is remembered.
const maxDone = 4096

// add remembers a message that ended at now.
func (d *done) add(id messageID, now time.Time) {
	if d.known == nil {
		d.known = make(map[messageID]time.Time)
	}
	if _, again := d.known[id]; !again {
		if len(d.ring) < maxDone {
			d.ring = append(d.ring, id)
		} else {
			delete(d.known, d.ring[d.next])
			d.ring[d.next] = id
			d.next = (d.next + 1) % maxDone
		}
	}
	d.known[id] = now
}

// has reports whether a message with this id ended within maxAge: a sender may use an id
// again later.
func (d *done) has(id messageID, now time.Time) bool {
	at, ok := d.known[id]
	return ok && now.Sub(at) < maxAge
}
