package sink

import "fanin/internal/wire"

// groupBytes is how much laid-out text makes a group commit full. A group takes what is there when
// it begins: gathering decides when that is.
const groupBytes = 1 << 20

// groupStreams is how many entries a map of a group keeps room for.
const groupStreams = 1 << 10

// group is what the next frame will hold, and the requests that wait for it.
type group struct {
	records []record
	names   []names
	text    []byte
	streams map[wire.StreamID]bool // those that it moves, by the ids of records
	ends    map[wire.StreamID]end  // of streams that its lines move: how far
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

// end is where the lines of a stream end in a group.
type end struct {
	epoch  uint32
	offset int64
	tail   wire.Hash
}

// continued reports whether b begins where the lines of its stream, by the id of records, end in
// the group. It is accepted as they are, by one frame: the second batch of a sender that has two in
// flight needs no commit between them.
func (g *group) continued(id wire.StreamID, b *wire.Batch) bool {
	at, ok := g.ends[id]
	return ok && b.Kind == wire.StreamAgent && b.Op == wire.OpData && at == end{b.Epoch, b.Offset, b.Before}
}

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
	g.streams, g.ends, g.added = emptied(g.streams), emptied(g.ends), emptied(g.added)
	if cap(g.text) > 4*groupBytes {
		g.text = nil // one batch of hostile bytes must not hold memory for ever
	}
}

// emptied returns m without its entries. One that had many is replaced: to clear it would cost as much
// at each commit from then on.
func emptied[K comparable, V any](m map[K]V) map[K]V {
	if len(m) > groupStreams {
		return make(map[K]V)
	}
	clear(m)
	return m
}
