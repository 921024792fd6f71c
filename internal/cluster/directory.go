package cluster

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// directory is what a member has seen of the bucket.
type directory struct {
	takeover  time.Duration
	peers     map[string]*seenPeer
	owners    map[int]ownerRecord
	pins      map[int]string
	tenures   map[int][]Tenure
	grown     time.Time                // when a partition's first tenures came
	groups    map[int]map[string]Group // of workers, by partition and name
	forgotten map[int]map[string]bool
	before    map[int]map[string]Group // the groups that were seen before the bucket was opened again
	complete  bool                     // all that the bucket had when the watch began was seen

	since    time.Time // since when our own signs of life come back without a break
	lastBeat time.Time // when the last one came back
}

type seenPeer struct {
	Peer
	at       time.Time // when its last sign of life came, by our clock
	revision uint64    // of the record
}

type ownerRecord struct {
	owner
	revision uint64
}

func newDirectory(takeover time.Duration) *directory {
	return &directory{takeover: takeover, peers: make(map[string]*seenPeer),
		owners: make(map[int]ownerRecord), pins: make(map[int]string), tenures: make(map[int][]Tenure),
		groups: make(map[int]map[string]Group), forgotten: make(map[int]map[string]bool)}
}

// see takes a record in. It returns a partition whose tenures have changed, or -1.
func (d *directory) see(e jetstream.KeyValueEntry, now time.Time) (tenures int) {
	gone := e.Operation() != jetstream.KeyValuePut
	if id, ok := strings.CutPrefix(e.Key(), keyMember); ok {
		d.seePeer(id, e.Value(), e.Revision(), gone, now)
		return -1
	}
	if key, ok := strings.CutPrefix(e.Key(), keyGroup); ok {
		d.seeGroup(key, e, gone)
		return -1
	}
	kind, digits, _ := strings.Cut(e.Key(), ".")
	p, err := strconv.Atoi(digits)
	if err != nil {
		return -1
	}
	switch kind + "." {
	case keyOwner:
		r := ownerRecord{revision: e.Revision()}
		if !gone {
			json.Unmarshal(e.Value(), &r.owner) // what cannot be read names no owner
		}
		d.owners[p] = r
	case keyPin:
		var to pin
		if delete(d.pins, p); !gone && json.Unmarshal(e.Value(), &to) == nil {
			d.pins[p] = to.To
		}
	case keyTenures:
		var list []Tenure
		if !gone && json.Unmarshal(e.Value(), &list) == nil {
			if d.tenures[p] == nil {
				d.grown = now
			}
			d.tenures[p] = list
			return p
		}
	}
	return -1
}

func (d *directory) seePeer(id string, value []byte, revision uint64, gone bool, now time.Time) {
	if gone {
		delete(d.peers, id)
		return
	}
	p := &seenPeer{at: now, revision: revision}
	if json.Unmarshal(value, &p.Peer) == nil && p.ID == id {
		d.peers[id] = p
	}
}

// beat notes that our own sign of life came back: what others wrote before came, too.
func (d *directory) beat(now time.Time) {
	if d.lastBeat.IsZero() || now.Sub(d.lastBeat) > d.takeover/2 {
		d.since = now
	}
	d.lastBeat = now
}

// alive reports whether a member lives, as far as is known. While we see nothing, all live: it may
// be that we are cut off. Each then has TakeoverAfter anew.
func (d *directory) alive(id string, now time.Time) bool {
	p := d.peers[id]
	if p == nil {
		return false
	}
	last := p.at
	if d.since.After(last) {
		last = d.since
	}
	return now.Sub(last) < d.takeover || now.Sub(d.lastBeat) > d.takeover/2
}

// shown reports whether a member gave a sign of life while ours came back. Until then, its record protects
// what it owns, and gives it no right to more: it may have died while nothing could be seen.
func (d *directory) shown(p *seenPeer) bool { return !d.since.IsZero() && p.at.After(d.since) }

// eligible are the members that live and do not leave, and me.
func (d *directory) eligible(me string, now time.Time) (ids []string) {
	for id, p := range d.peers {
		if (id == me || d.shown(p)) && !p.Leaving && d.alive(id, now) {
			ids = append(ids, id)
		}
	}
	return ids
}

// settled reports whether all that live have shown it: by then nothing is taken, which would move again.
func (d *directory) settled(me string, now time.Time) bool {
	if d.since.IsZero() {
		return false
	}
	for id, p := range d.peers {
		if id != me && !d.shown(p) && now.Sub(d.since) < d.takeover/4 { // two beats
			return false
		}
	}
	return true
}

// forgetAfter is for how many times takeover_after the record of a silent member is kept.
const forgetAfter = 10

// silent are the records of members that are silent for so long that they may be removed.
func (d *directory) silent(now time.Time) (revisions map[string]uint64) {
	revisions = make(map[string]uint64)
	for id, p := range d.peers {
		last := p.at
		if d.since.After(last) {
			last = d.since
		}
		if !d.alive(id, now) && now.Sub(last) >= forgetAfter*d.takeover {
			revisions[id] = p.revision
		}
	}
	return revisions
}

// ownersByPartition are the owners of all partitions.
func (d *directory) ownersByPartition() map[int]string {
	m := make(map[int]string, len(d.owners))
	for p, r := range d.owners {
		m[p] = r.Owner
	}
	return m
}
