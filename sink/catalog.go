package sink

import (
	"slices"
	"time"

	"fanin/internal/wire"
)

// catalog is what the log knows besides its text: how far each stream is
// committed and which files make up the log. The writer alone changes it, under
// the sink's lock so that others can read it.
type catalog struct {
	log, logIncarnation wire.StreamID
	streams             map[wire.StreamID]*stream
	agents              map[string][]*stream // of StreamAgent, by owner; stream.index is the index
	senders             senders
	tombs               tombs
	keys                keys
	extensions          extensions
	generations         []*generation // ascending; the last is the live one

	dirty     []*stream // changed since the last checkpoint, each once
	dirtyGens []*generation
}

// generation is one file of the log.
type generation struct {
	number uint64
	name   string // base name; "" once it is gone
	inode  uint64
	size   int64
	state  string
	opened time.Time
	closed time.Time
	dirty  bool
}

// The states of a generation.
const (
	stateLive    = "live"
	statePlain   = "plain"
	stateGzip    = "gzip"
	stateRemoved = "removed" // by retention
	stateLost    = "lost"    // moved away or deleted by another process
)

func newCatalog() *catalog {
	return &catalog{
		streams: make(map[wire.StreamID]*stream),
		agents:  make(map[string][]*stream),
		senders: newSenders(),
		tombs:   newTombs(),
		keys:    newKeys(),
	}
}

// id returns the id under which records name the stream that owner calls own. A stream
// that version 1 began keeps that version's id, which was own itself, as long as the
// same owner uses it.
func (c *catalog) id(kind wire.StreamKind, owner string, own wire.StreamID) wire.StreamID {
	id := own.Owned(kind, owner)
	if c.streams[id] == nil {
		if st := c.streams[own]; st != nil && st.own == own {
			if o := st.origin.Value(); o.kind == kind && o.agent == owner {
				return own
			}
		}
	}
	return id
}

// apply is what a committed frame does, when it is committed and when it is
// read again after a crash; now is the time in microseconds since 1970.
func (c *catalog) apply(f *frame, now int64) {
	for i := range f.extensions {
		c.applyExtension(&f.extensions[i])
	}
	names := f.names
	for i := range f.records {
		r := &f.records[i]
		if r.op == wire.OpOpen {
			c.name(r, names[0])
			names = names[1:]
		}
		if r.stream.IsZero() {
			continue
		}
		if r.key {
			c.keys.move(r)
			continue
		}
		st := c.streams[r.stream]
		if st == nil {
			continue // ended before: only a repeated end comes here
		}
		st.apply(r)
		st.seen = now
		c.touch(st)
		if st.ended {
			c.removeStream(st)
			c.tombs.remember(st, r)
		}
	}
}

// applyExtension is what one extension of a committed frame does.
func (c *catalog) applyExtension(x *extension) {
	if x.kind == extensionKey {
		c.keys.apply(x)
		return
	}
	c.extensions.apply(x)
}

// name finds or creates the stream that a record opens, and sets its names.
func (c *catalog) name(r *record, n names) {
	if n.own.IsZero() { // version 1 recorded neither
		n.own, n.kind = r.stream, kindOfVersion1(r.lossy, n.agent)
	}
	st := c.streams[r.stream]
	if st == nil {
		st = &stream{id: r.stream}
	} else {
		c.removeStream(st)
		st.batches = 2
	}
	n.nameStream(st)
	c.addStream(st)
	c.tombs.remove(st.id)
}

// addStream makes st known.
func (c *catalog) addStream(st *stream) {
	c.streams[st.id] = st
	o := st.origin.Value()
	if o.kind == wire.StreamAgent {
		st.index = int32(len(c.agents[o.agent]))
		c.agents[o.agent] = append(c.agents[o.agent], st)
	}
	c.senders.add(st)
}

// endStream forgets a stream whose end was committed, or that another entry replaces.
func (c *catalog) endStream(st *stream) {
	st.ended = true
	c.removeStream(st)
}

// removeStream is the reverse of addStream.
func (c *catalog) removeStream(st *stream) {
	delete(c.streams, st.id)
	o := st.origin.Value()
	if o.kind == wire.StreamAgent {
		list := c.agents[o.agent]
		last := list[len(list)-1]
		list[st.index], last.index = last, st.index
		list[len(list)-1] = nil
		if c.agents[o.agent] = list[:len(list)-1]; len(list) == 1 {
			delete(c.agents, o.agent)
		}
	}
	c.senders.remove(st)
}

func (c *catalog) touch(st *stream) {
	if !st.dirty {
		st.dirty = true
		c.dirty = append(c.dirty, st)
	}
}

func (c *catalog) touchGeneration(g *generation) {
	if !g.dirty {
		g.dirty = true
		c.dirtyGens = append(c.dirtyGens, g)
	}
}

func (c *catalog) live() *generation { return c.generations[len(c.generations)-1] }

// add begins a generation; it is the live one from now on.
func (c *catalog) add(g *generation) {
	c.generations = append(c.generations, g)
	c.touchGeneration(g)
}

// drop removes a generation whose file is gone for good.
func (c *catalog) drop(g *generation) {
	c.generations = slices.DeleteFunc(c.generations, func(x *generation) bool { return x == g })
	c.touchGeneration(g)
}

func (c *catalog) list() []Generation {
	var gs []Generation
	for _, g := range c.generations {
		gs = append(gs, g.listed())
	}
	return gs
}

func (g *generation) listed() Generation {
	return Generation{Number: g.number, Name: g.name, Size: g.size, State: g.state, Opened: g.opened, Closed: g.closed}
}
