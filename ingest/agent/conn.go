package agent

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"fanin/ingest"
	"fanin/ingest/stream"
	"fanin/internal/wire"
)

// conn is the connection of an agent. One goroutine reads frames, each frame waits for its
// turn in its stream and for its outcome on a goroutine of its own, and whichever has an
// answer writes it.
type conn struct {
	*stream.Conn
	p         *Protocol
	appending context.Context // of every Append

	frames  *frameReader
	dec     *wire.Decoder
	claim   *ingest.Claim
	origin  string // see address
	answers answers
	evicted atomic.Pointer[string] // why another connection took over
	broken  atomic.Pointer[error]  // why a text could not be decompressed

	dismissed wire.StreamID // of the frame in which the reading ended
	memory
	slots  chan struct{} // one for each frame in flight
	flying sync.WaitGroup
}

const (
	maxFlying   = 16 * wire.MaxChain // frames of one connection without an answer
	frameBuffer = 1 << 10            // bytes: an idle connection has no more
)

func newConn(ctx context.Context, p *Protocol, sc *stream.Conn) *conn {
	c := &conn{Conn: sc, p: p, appending: ctx, slots: make(chan struct{}, maxFlying)}
	c.answers.nc, c.answers.timeout = c.Net(), c.Limits.FrameTimeout
	c.frames = &frameReader{c: sc, head: c.Head(), charge: c.chargeOrDefer}
	c.memory.begin(c)
	c.dec = wire.NewDecoderSize(c.frames, frameBuffer)
	c.dec.Grow, c.dec.Free, c.dec.Defer = c.grow, c.free, true
	return c
}

// flight is a frame from its first byte until its answer is written. Flights are used again.
type flight struct {
	wire.Frame
	c        *conn
	came     time.Time // when it was complete
	turn     *ingest.Turn
	appended func() // turn.Appended
}

func (p *Protocol) newFlight(c *conn) *flight {
	f, ok := p.flights.Get().(*flight)
	if !ok {
		f = new(flight)
		f.appended = func() { f.turn.Appended() }
	}
	f.c = c
	return f
}

// land ends a flight. Nothing of it is in use any more.
func (p *Protocol) land(f *flight) {
	*f = flight{appended: f.appended}
	p.flights.Put(f)
}

// readFrames reads frames until an error ends it.
func (c *conn) readFrames() error {
	f := c.p.newFlight(c)
	defer func() { c.p.land(f) }()
	for {
		c.frames.expect(c.p.Timeout, c.Limits.FrameTimeout)
		err := c.dec.Next(&f.Frame)
		if err != nil {
			c.dismissed = f.Batch.Stream
			return err
		}
		c.arrival.Done(true)
		c.claim.Frames.Add(1)
		switch f.Kind {
		case wire.KindBatch, wire.KindOpen, wire.KindSkip, wire.KindEnd:
			if err := c.submit(f); err != nil {
				return err
			}
			f = c.p.newFlight(c)
		case wire.KindPing:
			if !c.answers.write(wire.AppendPing(nil, wire.KindPong, f.N)) {
				return &ingest.Fault{Reason: "protocol", Text: "the agent does not read its answers"}
			}
		default:
			c.free(f.Batch.Text)
			return &ingest.Fault{Reason: "protocol",
				Text: fmt.Sprintf("a frame of kind %d is not an agent's to send here", f.Kind)}
		}
	}
}

// submit decompresses a frame's text and appends its batch when it is its turn, on a goroutine of
// its own: the next frame is read meanwhile. After an error the frame is the caller's.
func (c *conn) submit(f *flight) error {
	b := &f.Batch
	f.came = time.Now()
	b.Input, b.Address, b.Agent = c.p.lines.Name(), c.origin, c.claim.Hello.Owner()
	if b.Stream.IsZero() {
		c.free(b.Text)
		return &ingest.Fault{Reason: "protocol", Text: "a frame is of no stream"}
	}
	turn, ok := c.p.Sessions.StartFrame(b.Agent, b.Stream)
	if !ok {
		c.free(b.Text)
		return &ingest.Fault{Reason: "protocol",
			Text: fmt.Sprintf("stream %v: a frame comes while %d are without an answer", b.Stream, wire.MaxChain)}
	}
	f.turn, b.Next = turn, f.appended
	select {
	case c.slots <- struct{}{}:
	default:
		c.wait(func() error { c.slots <- struct{}{}; return nil })
	}
	c.holdUnpacked(&f.Packing)
	c.flying.Add(1)
	go f.decide() // owned by flying; ends with its Append
	return nil
}

// decide appends the frame, and writes its answer.
func (f *flight) decide() {
	c := f.c
	defer func() { <-c.slots; c.flying.Done() }()
	err := c.offer(&f.Frame, f.came, f.turn)
	f.turn.Decided()
	f.turn.WaitAnswer()
	delay := c.answer(&f.Batch, err)
	f.turn.Answered()
	c.p.land(f)
	c.answers.flushAfter(&c.p.rounds, delay)
}

// offer decompresses a frame's text, and appends its batch when it is its turn.
func (c *conn) offer(f *wire.Frame, came time.Time, turn *ingest.Turn) error {
	err := c.unpack(f, turn)
	turn.Wait()
	if err != nil {
		return err
	}
	c.p.Relays.SetSession(&f.Batch, &c.claim.Hello, c.p.TrustHost, came) // its labels need the text
	defer c.free(f.Batch.Text)
	return ingest.Offer(c.appending, c.p.Out, c.p.lines, &f.Batch)
}

// answer queues the outcome of a batch, and returns when to write it: after a while, so that an
// agent's next lines travel together. Once a text could not be decompressed, whose frame gets no
// answer, it queues none: that to the next frame of the stream would be taken for it.
func (c *conn) answer(b *wire.Batch, err error) (delay time.Duration) {
	if c.broken.Load() != nil {
		return 0
	}
	var space [64]byte // holds an ack
	c.answers.queue(wire.AppendAnswer(space[:0], wire.AnswerTo(b.Stream, err)))
	delay = c.p.Sessions.AnswerDelay(len(b.Text), time.Now())
	if err != nil {
		return 0
	}
	return delay
}
