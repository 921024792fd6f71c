package zmq

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"fanin/ingest"
	"fanin/internal/lines"
	"fanin/internal/zmtp"
)

// reader reads the messages of one peer. While it waits for a message it holds no block.
type reader struct {
	n     *Input
	l     *zmtp.Link
	loan  *loan // the memory of large messages
	queue *appender
	block *block // being filled; nil: none
	next  int    // how large the next block should be
	timed bool   // the next read waits for linger only

	linger time.Duration // how long it waits

	host    string
	subs    bool // the socket is a SUB: messages have topics, and are dropped if there is no memory
	names   names
	numbers *numbers // nil: messages are not numbered

	messages, empty int // not counted yet
}

const (
	firstBlock = 4 << 10
	largeBlock = 1 << 20  // as much as one commit takes
	turnBlock  = 16 << 10 // the largest block to wait for, if a message does not need more
	crowdBlock = 64 << 10
)

// lingerTime is how long lines may wait for more to come while earlier ones are being
// appended. While the log is busy for longer, a SUB gathers more: a few lines in a block of
// their own would take as much memory as many. It then looks again after a time that doubles.
const (
	lingerTime    = 2 * time.Millisecond
	longestLinger = 64 * time.Millisecond
)

// serve reads the messages of a peer until the connection ends.
func (n *Input) serve(_ context.Context, l *zmtp.Link) error {
	r := &reader{n: n, l: l, next: firstBlock, linger: lingerTime, host: n.Lines.Host, subs: n.Socket.Type == zmtp.Sub}
	r.loan = l.Memory.(*loan)
	r.loan.r = r
	most := 1
	if r.subs {
		most = max(n.Sub.Pending-2*largeBlock, 1) // one is filled, one is appended
	}
	r.queue = newAppender(n, l.Remote, most)
	if r.host == "" {
		r.host = l.Host()
	}
	if n.sequences != nil {
		r.numbers = n.sequences.of(n, l)
	}
	err := r.subscribe()
	if err == nil {
		err = r.readMessages()
	}
	r.ended(err, r.finish())
	return err
}

func (r *reader) subscribe() error {
	if !r.subs {
		return nil
	}
	for _, topic := range r.n.Sub.Topics {
		if err := r.l.Subscribe(topic); err != nil {
			return err
		}
	}
	return r.l.Flush()
}

// readMessages reads until an error ends it. Lines are handed over as soon as no earlier ones
// are being appended; until then more are gathered, for a moment.
func (r *reader) readMessages() error {
	late := false
	for {
		r.boundRead(late)
		frames, err := r.l.Receive()
		for ok := err == nil; ok; frames, ok, err = r.l.Next() {
			if err := r.add(frames); err != nil {
				return err
			}
		}
		r.count()
		late = r.timed && errors.Is(err, os.ErrDeadlineExceeded)
		if err != nil && !late {
			return err
		}
		switch {
		case r.block == nil:
		case r.queue.idle() || late && r.gathered() && !r.queue.full():
			r.handOver()
		case late:
			r.linger = min(2*r.linger, longestLinger)
		}
	}
}

// gathered reports whether the block has enough lines to wait for earlier ones in memory.
func (r *reader) gathered() bool { return !r.subs || len(r.block.Text) >= cap(r.block.Text)/2 }

// boundRead makes the next read wait no longer than linger from the first line on that is
// not handed over, and again if that time is over.
func (r *reader) boundRead(late bool) {
	switch {
	case r.block != nil && (!r.timed || late):
		r.l.SetReadDeadline(time.Now().Add(r.linger))
		r.timed = true
	case r.block == nil && r.timed:
		r.l.SetReadDeadline(time.Time{})
		r.timed = false
	}
}

// count counts the messages that were read since the last time.
func (r *reader) count() {
	r.n.counts.messages.Add(float64(r.messages))
	r.n.counts.empty.Add(float64(r.empty))
	r.messages, r.empty = 0, 0
}

// add adds the lines of one message. The error is that of a Shutdown that was given up.
func (r *reader) add(frames [][]byte) error {
	r.messages++
	r.loan.complete()
	source := ""
	if r.subs && len(frames) > 1 {
		source = r.names.source(frames[0])
		if r.numbers != nil {
			frames = r.numbers.check(frames)
		}
		frames = frames[1:]
	}
	size := 0
	for i, frame := range frames {
		frames[i] = ingest.TrimEnd(frame)
		if n := len(frames[i]); n >= r.n.Lines.MaxLine {
			size += lines.SplitSize(n+1, r.n.Lines.MaxLine)
		} else if n > 0 {
			size += n + 1
		} else {
			r.empty++
		}
	}
	if size == 0 {
		return nil
	}
	if ok, err := r.makeSpace(size, source); !ok {
		return r.lose(frames, err)
	}
	for _, frame := range frames {
		if len(frame) > 0 {
			r.block.add(frame, r.n.Lines.MaxLine, r.n.lines)
		}
	}
	return nil
}

// makeSpace makes the block able to hold size more bytes of lines of a source. ok is false if
// the message must be dropped.
func (r *reader) makeSpace(size int, source string) (ok bool, err error) {
	if r.block != nil && r.block.fits(size) && r.block.label(source) {
		return true, nil
	}
	if r.block != nil {
		if r.subs && r.queue.full() {
			return false, nil
		}
		r.handOver()
	}
	want := max(r.next, size)
	if want > crowdBlock && r.n.Budget.Crowded() {
		want = max(crowdBlock, size)
	}
	b := r.n.Budget.TryAcquire(want)
	if b == nil {
		b = r.n.Budget.TryAcquire(max(size, firstBlock))
	}
	if b == nil {
		if r.subs {
			return false, nil
		}
		if b, err = r.acquire(size); err != nil {
			return false, err
		}
	}
	r.block = newBlock(b, r.host, r.n.Lines.Source)
	return r.block.label(source), nil
}

// acquire waits for a block, a small one, so that all get their turn soon. A message in memory of
// the budget may exceed the limit, or such messages would wait for each other.
func (r *reader) acquire(size int) ([]byte, error) {
	if r.loan.lent {
		return r.n.Budget.Extend(r.n.appending, size)
	}
	return r.n.Budget.Acquire(r.n.appending, max(size, min(r.next, turnBlock)))
}

// handOver has the lines of the block appended. A PULL waits until no more than one block
// waits.
func (r *reader) handOver() {
	switch b := r.block; {
	case len(b.Text) >= cap(b.Text)*3/4:
		r.next = min(max(2*cap(b.Text), r.next), largeBlock)
	case len(b.Text) < cap(b.Text)/8:
		r.next = max(cap(b.Text)/2, firstBlock)
	}
	r.queue.hand(r.block)
	r.block, r.linger = nil, lingerTime
}

// lose counts the lines of a message that is not written: dropped because there is no memory,
// or, with an error, because the Shutdown was given up.
func (r *reader) lose(frames [][]byte, err error) error {
	count, size := 0, 0
	for _, frame := range frames {
		if len(frame) > 0 {
			count += lines.Count(frame) + 1
			size += len(frame) + 1
		}
	}
	r.n.lines.Received(count, size)
	if err != nil {
		r.n.lines.Unsure(count)
		return err
	}
	r.n.lines.Dropped(count)
	r.n.counts.dropped.Inc()
	r.n.report.add(busy, 1, r.l.Remote)
	return nil
}

// finish has what was read appended, and waits for all outcomes.
func (r *reader) finish() error {
	r.count()
	if r.block != nil {
		r.handOver()
	}
	r.l.Discard()
	r.loan.leave()
	return r.queue.finish()
}

// ended counts what may be missing after the connection. A PUSH that ends between two messages
// has sent all of them, as far as ZeroMQ can tell; a publisher goes on without us.
func (r *reader) ended(err, appended error) {
	torn := !errors.Is(err, io.EOF)
	if r.l.Stopped() {
		if unread := r.l.Unread(); unread > 0 {
			r.n.counts.unread.Add(float64(unread))
			r.n.report.add(unreadBytes, unread, r.l.Remote)
		}
		if !torn {
			return
		}
	}
	if torn || !r.l.Accepted || r.subs || appended != nil {
		r.n.counts.breaks.Inc()
		r.n.report.add(broken, 1, r.l.Remote)
	}
	if r.loan.dismissed() {
		r.n.counts.crowded.Inc()
		err = &zmtp.Error{Reason: "crowded", Text: "memory for large messages that have begun is used up, " +
			"and this one came too slowly"}
	}
	var peer *zmtp.Error
	if errors.As(err, &peer) {
		r.n.limited.Warn("peer "+string(peer.Reason), "a ZeroMQ peer was disconnected", "peer", r.l.Remote,
			"reason", peer.Reason, "error", peer)
	}
}
