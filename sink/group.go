package sink

import "fanin/internal/wire"

// groupBytes is how much laid-out text makes a group commit full. A group never
// waits to be filled: it takes what is there now.
const groupBytes = 1 << 20

// group is what the next frame will hold, and the requests that wait for it.
type group struct {
	records []record
	names   []names
	text    []byte
	streams map[wire.StreamID]bool // those that it moves, by the ids of records
	added   map[scope]int          // streams that it adds, less those that it ends
	answers []answer

	extensions    []extension
	extensionSize int  // in bytes
	undivided     bool // the batch that is laid out goes into one frame
}

// full reports whether the group is large enough for a frame.
func (g *group) full() bool {
	return len(g.text)+g.extensionSize >= groupBytes || len(g.names) >= endsPerFrame
}

// mayDivide reports whether a frame may end here, in the middle of a batch.
func (g *group) mayDivide() bool { return g.full() && !g.undivided }

type answer struct {
	request *request
	err     error
}

func (g *group) reply() {
	for i := range g.answers {
		g.answers[i].request.outcome <- g.answers[i].err
		g.answers[i] = answer{}
	}
	g.answers = g.answers[:0]
}

func (g *group) reset() {
	g.records, g.text = g.records[:0], g.text[:0]
	clear(g.names)
	g.names = g.names[:0]
	clear(g.extensions)
	g.extensions, g.extensionSize = g.extensions[:0], 0
	clear(g.streams)
	clear(g.added)
	if cap(g.text) > 4*groupBytes {
		g.text = nil // one batch of hostile bytes must not hold memory for ever
	}
}
