package ingest

import (
	"net/netip"
	"sync"

	"fanin/internal/wire"
)

// queue holds datagrams' lines between the reader and the keeper. There are two
// rounds: the reader fills one while give hands over the other. Within a round
// each host's lines stand together, in their order, so that a read of many
// hosts' datagrams becomes a few large batches.
type queue struct {
	u    *UDP
	room Budget // bounds what is queued: when it is full the reader waits, the kernel's buffer fills, and the kernel counts what it drops

	mu      sync.Mutex
	filling *round
	hint    int // bytes of a host's lines in the last round, on average
	closed  bool
	ready   chan struct{} // there may be something to give
}

// key is whose order must be kept: a host's, or a lossy stream's.
type key struct {
	host   netip.Addr
	stream wire.StreamID
}

type round struct {
	runs  map[key]*run
	last  *run // of the datagram before: most often the same
	bytes int
}

// run is the lines of one key, as batches whose Texts are blocks of the budget.
type run struct {
	key     key
	batches []queued
}

type queued struct {
	wire.Batch
	lines, datagrams int
}

// mostText is how much text a batch is filled with: no Cuts are needed.
const mostText = wire.MaxCutText

func newQueue(u *UDP) *queue {
	q := &queue{u: u, ready: make(chan struct{}, 1), filling: newRound()}
	q.room.Limit = u.QueueBytes
	return q
}

func newRound() *round { return &round{runs: make(map[key]*run)} }

// put copies b's lines into the queue, and waits while there is no room. An
// anonymous Text lacks its last newline.
func (q *queue) put(k key, b wire.Batch, lines int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		r := q.filling.run(k)
		if r.extend(&b, lines) {
			break
		}
		block := q.room.TryAcquire(q.blockSize(len(b.Text) + 1))
		if block == nil {
			if block = q.waitForRoom(len(b.Text) + 1); block == nil {
				q.u.Metrics.atShutdown.Inc()
				q.u.unsure(&b, lines)
				return
			}
			r = q.filling.run(k) // the round may be another by now
		}
		r.begin(b, block)
	}
	q.filling.bytes += len(b.Text)
}

// blockSize is how large a block to begin for n bytes.
func (q *queue) blockSize(n int) int { return min(max(n, q.hint), mostText) }

// waitForRoom lets give go on, which makes room. nil: the listener was given up.
func (q *queue) waitForRoom(n int) []byte {
	q.u.Metrics.queueWaits.Inc()
	q.mu.Unlock()
	defer q.mu.Lock()
	q.wake()
	block, _ := q.room.Acquire(q.u.ctx, n)
	return block
}

// wake says that there is something to give.
func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default: // it is said already
	}
}

// close says that nothing comes any more.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.wake()
}

func (rd *round) run(k key) *run {
	if rd.last != nil && rd.last.key == k {
		return rd.last
	}
	r := rd.runs[k]
	if r == nil {
		r = &run{key: k}
		rd.runs[k] = r
	}
	rd.last = r
	return r
}

// begin makes room for a batch with b's properties and no text yet.
func (r *run) begin(b wire.Batch, block []byte) {
	b.Text = block[:0]
	b.End, b.After = b.Offset, b.Before
	r.batches = append(r.batches, queued{Batch: b})
}

// extend adds b to the last batch, if it follows and fits.
func (r *run) extend(b *wire.Batch, lines int) bool {
	if len(r.batches) == 0 {
		return false
	}
	to := &r.batches[len(r.batches)-1]
	if len(to.Text)+len(b.Text)+1 > cap(to.Text) || to.lines > 0 && !follows(to, b, lines) {
		return false
	}
	to.Text = append(to.Text, b.Text...)
	if b.Kind != wire.StreamLossy {
		to.Text = append(to.Text, '\n')
	}
	to.End, to.After = b.End, b.After
	to.lines += lines
	to.datagrams++
	return true
}

// follows reports whether a batch can take b on: a lossy stream's gaps must stay
// visible.
func follows(to *queued, b *wire.Batch, lines int) bool {
	if b.Kind != wire.StreamLossy {
		return true
	}
	return b.Epoch == to.Epoch && b.Offset == to.End && b.Before == to.After && b.FirstLine == to.FirstLine+int64(to.lines) &&
		b.Agent == to.Agent && b.Host == to.Host && b.Source == to.Source && to.lines+lines <= wire.MaxCutLines
}

// give hands over what waits, round after round, until the queue is closed and
// empty. It never waits for more to come.
func (q *queue) give() {
	spare := newRound()
	for range q.ready {
		q.mu.Lock()
		full := q.filling
		q.filling = spare
		if n := len(full.runs); n > 0 {
			q.hint = full.bytes / n
		}
		closed := q.closed
		q.mu.Unlock()
		q.u.Metrics.queueBytes.Set(float64(q.room.Used()))
		q.giveRound(full)
		spare = full
		if closed {
			q.u.Metrics.queueBytes.Set(0)
			return // nothing was put after close
		}
	}
}

// givers bounds how many hosts' lines are given at once.
const givers = 64

// giveRound gives the runs side by side, and each in its order.
func (q *queue) giveRound(rd *round) {
	var all sync.WaitGroup
	slots := make(chan struct{}, givers)
	for _, r := range rd.runs {
		if len(rd.runs) == 1 {
			q.giveRun(r)
			break
		}
		slots <- struct{}{}
		all.Go(func() { // owned by giveRound
			q.giveRun(r)
			<-slots
		})
	}
	all.Wait()
	clear(rd.runs)
	rd.last, rd.bytes = nil, 0
}

func (q *queue) giveRun(r *run) {
	for i := range r.batches {
		b := &r.batches[i]
		err := q.u.Out.Append(q.u.ctx, b.Batch)
		q.room.Release(b.Text)
		if err != nil {
			q.u.notTaken(b, err)
		}
	}
}

// notTaken counts lines that cannot be sent again.
func (u *UDP) notTaken(b *queued, err error) {
	u.unsure(&b.Batch, b.lines)
	u.limited.Warn("udp_append", "lines of datagrams were not taken", "host", b.Host, "lines", b.lines, "error", err)
}

func (u *UDP) unsure(b *wire.Batch, lines int) {
	in := u.plainLines
	if b.Kind == wire.StreamLossy {
		in = u.agentLines
	}
	in.Unsure(lines)
}
