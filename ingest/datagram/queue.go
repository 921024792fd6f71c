package datagram

import (
	"net/netip"
	"sync"
	"unsafe"

	"fanin/ingest"
	"fanin/internal/counters"
	"fanin/internal/wire"
)

// queue holds the lines of datagrams between the reader and Append. There are two
// generations: the reader fills one while run appends the other. Within a generation
// the lines of each host are together, in their order, so that a read of datagrams of
// many hosts becomes a few large batches.
type queue struct {
	l      *Listener
	budget ingest.Budget // when it is used up the reader waits, and the kernel counts what it drops

	mu      sync.Mutex
	filling *generation
	hint    int           // bytes of a host's lines in the last generation, on average
	marks   [][]wire.Mark // of batches that were appended, for others
	closed  bool
	ready   chan struct{} // there may be something to append
}

// key is whose order is kept: that of a host, or of a lossy stream.
type key struct {
	host   netip.Addr
	stream wire.StreamID
}

// addition is what a handler adds to the queue.
type addition struct {
	key    key
	in     *counters.Input
	lines  int
	labels wire.Labels // of lines that are of no stream
	batch  wire.Batch  // its Text lacks the last newline if it is of no stream
}

// size returns how much space a takes in a batch, its labels included.
func (a *addition) size() int {
	n := len(a.batch.Text) + 1
	if !a.labels.Time.IsZero() || a.labels.Attributes != "" {
		n += labelBytes(&a.labels)
	}
	return n
}

// labelBytes is the memory that a mark with labels l holds.
func labelBytes(l *wire.Labels) int {
	return markBytes + len(l.Host) + len(l.Source) + len(l.Attributes)
}

// generation is the lines that came while the generation before was appended.
type generation struct {
	hosts map[key]*hostQueue
	last  *hostQueue // of the datagram before: most often the same
	bytes int
}

// hostQueue is the lines of one key, as batches whose texts are blocks of the budget.
type hostQueue struct {
	key     key
	batches []queued
}

// queued is a batch that waits.
type queued struct {
	wire.Batch
	in         *counters.Input
	lines      int
	labelBytes int // memory that its marks hold
}

const (
	maxText    = wire.MaxCutText // with so much text, a batch needs no cuts
	markBytes  = int(unsafe.Sizeof(wire.Mark{}))
	spareMarks = 16 // lists of marks that are kept
)

func newQueue(l *Listener) *queue {
	q := &queue{l: l, ready: make(chan struct{}, 1), filling: newGeneration()}
	q.budget.Limit = l.QueueBytes
	return q
}

func newGeneration() *generation { return &generation{hosts: make(map[key]*hostQueue)} }

// add copies lines into the queue, and waits while the budget is used up.
func (q *queue) add(a *addition) {
	for !q.tryAdd(a, nil) {
		q.l.metrics.queueFull().Inc()
		q.wake()
		block, err := q.budget.Acquire(q.l.appending, a.size())
		if err != nil { // the shutdown was given up
			q.l.metrics.dropped("shutdown").Inc()
			a.in.Dropped(a.lines)
			return
		}
		if q.tryAdd(a, block) {
			return
		}
	}
}

// tryAdd adds lines, if need be in a new batch in block. Without a block it acquires
// one, and reports false if there is no memory for it now.
func (q *queue) tryAdd(a *addition, block []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.filling.host(a.key)
	if block == nil {
		if h.extend(a) {
			q.filling.bytes += a.size()
			return true
		}
		if block = q.budget.TryAcquire(q.blockSize(a.size())); block == nil {
			return false
		}
	}
	h.begin(a, block, q.takeMarksLocked())
	q.filling.bytes += a.size()
	return h.extend(a)
}

// blockSize returns how large a new block for n bytes should be.
func (q *queue) blockSize(n int) int { return max(n, min(q.hint, maxText)) }

// takeMarksLocked returns an empty list of marks, if one is kept.
func (q *queue) takeMarksLocked() (marks []wire.Mark) {
	if last := len(q.marks) - 1; last >= 0 {
		marks, q.marks = q.marks[last], q.marks[:last]
	}
	return marks
}

// keepMarks keeps the marks of a batch for another one.
func (q *queue) keepMarks(marks []wire.Mark) {
	if cap(marks) == 0 {
		return
	}
	clear(marks)
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.marks) < spareMarks {
		q.marks = append(q.marks, marks[:0])
	}
}

// wake announces that there is something to append.
func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default: // that is announced already
	}
}

// close ends run, once the queue is empty. Nothing is added after it.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.wake()
}

func (g *generation) host(k key) *hostQueue {
	if g.last != nil && g.last.key == k {
		return g.last
	}
	h := g.hosts[k]
	if h == nil {
		h = &hostQueue{key: k}
		g.hosts[k] = h
	}
	g.last = h
	return h
}

// begin begins a batch with the properties of a and no text yet.
func (h *hostQueue) begin(a *addition, block []byte, marks []wire.Mark) {
	b := a.batch
	b.Text, b.Marks = block[:0], marks
	b.End, b.After = b.Offset, b.Before
	h.batches = append(h.batches, queued{Batch: b, in: a.in})
}

// extend adds a to the last batch, if it continues that and there is space.
func (h *hostQueue) extend(a *addition) bool {
	if len(h.batches) == 0 {
		return false
	}
	to := &h.batches[len(h.batches)-1]
	b := &a.batch
	if to.lines > 0 && (len(to.Text)+to.labelBytes+a.size() > cap(to.Text) || !to.continuedBy(a)) {
		return false
	}
	if !to.append(a) {
		return false
	}
	to.End, to.After = b.End, b.After
	to.lines += a.lines
	return true
}

// append appends the text of a with its labels. It changes nothing and returns false if
// the batch can have no more marks.
func (to *queued) append(a *addition) bool {
	b := &a.batch
	switch {
	case b.Kind != wire.StreamLossy:
		if !to.label(a.labels) {
			return false
		}
		to.Text = append(to.Text, b.Text...)
		to.Text = append(to.Text, '\n')
		to.Joined = to.Joined || b.Joined
	case to.lines > 0 && len(to.Marks)+len(b.Marks) >= wire.MaxMarks:
		return false
	case len(b.Marks) == 0: // as most are: Runs would allocate
		to.label(wire.Labels{Host: b.Host, Source: b.Source})
		to.Text = append(to.Text, b.Text...)
	default:
		for labels, text := range b.Runs() {
			to.label(labels)
			to.Text = append(to.Text, text...)
		}
	}
	return true
}

// label sets the labels of the lines to come, and counts the memory that they hold.
func (to *queued) label(labels wire.Labels) bool {
	before := len(to.Marks)
	if before == 0 && labels.Time.IsZero() && labels.Host == to.Host && labels.Source == to.Source &&
		labels.Attributes == "" {
		return true // as most are
	}
	if !to.Label(labels) {
		return false
	}
	if len(to.Marks) > before {
		to.labelBytes += labelBytes(&labels)
	}
	return true
}

// continuedBy reports whether a batch can take a on. The gaps of a lossy stream must
// stay visible.
func (to *queued) continuedBy(a *addition) bool {
	b := &a.batch
	if b.Kind != wire.StreamLossy {
		return a.in == to.in
	}
	return b.Epoch == to.Epoch && b.Offset == to.End && b.Before == to.After &&
		b.FirstLine == to.FirstLine+int64(to.lines) && to.lines+a.lines <= wire.MaxCutLines &&
		b.Agent == to.Agent && b.Host == to.Host && b.Source == to.Source
}

// run appends what waits, generation after generation, until the queue is closed and
// empty. It never waits for more to come.
func (q *queue) run() {
	spare := newGeneration()
	for range q.ready {
		q.mu.Lock()
		full := q.filling
		q.filling = spare
		if n := len(full.hosts); n > 0 {
			q.hint = full.bytes / n
		}
		closed := q.closed
		q.mu.Unlock()
		q.l.metrics.queueBytes().Set(float64(q.budget.Used()))
		q.appendGeneration(full)
		spare = full
		if closed {
			q.l.metrics.queueBytes().Set(0)
			return // nothing was added after close
		}
	}
}

// atOnce bounds how many hosts' lines are appended at the same time.
const atOnce = 64

// appendGeneration appends the lines of the hosts side by side, and those of each in
// their order.
func (q *queue) appendGeneration(g *generation) {
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, h := range g.hosts {
		if len(g.hosts) == 1 {
			q.appendHost(h)
			break
		}
		slots <- struct{}{}
		all.Go(func() { // owned by appendGeneration
			q.appendHost(h)
			<-slots
		})
	}
	all.Wait()
	clear(g.hosts)
	g.last, g.bytes = nil, 0
}

func (q *queue) appendHost(h *hostQueue) {
	for i := range h.batches {
		b := &h.batches[i]
		err := q.l.Out.Append(q.l.appending, b.Batch)
		q.budget.Release(b.Text)
		q.keepMarks(b.Marks)
		if err != nil {
			q.lost(b, err)
		}
	}
}

// lost counts and reports lines that may not be written: they cannot be sent again.
func (q *queue) lost(b *queued, err error) {
	ingest.Lost(b.in, b.lines, err)
	q.l.limited.Warn("udp_append", "lines of datagrams were not written",
		"host", b.Host, "lines", b.lines, "error", err)
}
