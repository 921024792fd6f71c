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
	log, incarnation wire.StreamID
	streams          map[wire.StreamID]*stream
	agents           map[string]map[wire.StreamID]*stream
	generations      []*generation // ascending; the last is the live one

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
	stateLost    = "lost"    // moved away or deleted by somebody
)

func newCatalog() *catalog {
	return &catalog{
		streams: make(map[wire.StreamID]*stream),
		agents:  make(map[string]map[wire.StreamID]*stream),
	}
}

// apply is what a committed frame does, when it is committed and when it is
// read again after a crash.
func (c *catalog) apply(f *frame) {
	names := f.names
	for i := range f.records {
		r := &f.records[i]
		if r.op == wire.OpOpen {
			c.name(r.stream, names[0])
			names = names[1:]
		}
		if r.stream.IsZero() {
			continue
		}
		st := c.streams[r.stream]
		if st == nil {
			continue // ended before: only a repeated end comes here
		}
		st.apply(r)
		c.touch(st)
		if st.ended {
			c.forget(st)
		}
	}
}

// name finds or makes a stream and says what it is called.
func (c *catalog) name(id wire.StreamID, n names) {
	st := c.streams[id]
	if st == nil {
		st = &stream{id: id}
		c.streams[id] = st
	}
	if st.agent != n.agent {
		delete(c.agents[st.agent], id)
	}
	st.names = n
	if c.agents[n.agent] == nil {
		c.agents[n.agent] = make(map[wire.StreamID]*stream)
	}
	c.agents[n.agent][id] = st
}

func (c *catalog) forget(st *stream) {
	delete(c.streams, st.id)
	delete(c.agents[st.agent], st.id)
	if len(c.agents[st.agent]) == 0 {
		delete(c.agents, st.agent)
	}
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

// drop forgets a generation that is of no more interest to anybody.
func (c *catalog) drop(g *generation) {
	c.generations = slices.DeleteFunc(c.generations, func(x *generation) bool { return x == g })
	c.touchGeneration(g)
}

// welcome lists the streams of an agent.
func (c *catalog) welcome(agent string) wire.Welcome {
	w := wire.Welcome{Log: c.log, Incarnation: c.incarnation}
	for _, st := range c.agents[agent] {
		if !st.lossy {
			w.Streams = append(w.Streams, wire.StreamState{
				Stream: st.id, Source: st.source, Identity: st.identity, Watermark: st.Watermark})
		}
	}
	return w
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
