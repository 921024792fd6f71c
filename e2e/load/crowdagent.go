package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/retry"
	"fanin/internal/wire"
)

// crowdAgent is one agent of a Crowd. It has the pauses between sessions that package ship has.
type crowdAgent struct {
	rhythm
	crowd  *Crowd
	number int
	stream wire.StreamID

	// The goroutine's own.
	random  *rand.Rand
	backoff retry.Backoff
	life    int64     // grows with each start
	over    time.Time // when this one ends; zero: never
	place   place     // acknowledged
	sent    place     // the end of the last batch, whatever became of it
	opened  bool
	flies   bool  // a batch has no answer
	flight  place // its end

	welcomed                atomic.Int64 // when the last session began, UnixNano
	acked, batches, resumed atomic.Int64
}

// place is a place in an agent's source.
type place struct {
	seq    int   // lines before it
	offset int64 // bytes before it
}

// mostBatch is how many bytes of lines a batch has at most: as an agent that reads small blocks.
const mostBatch = 16 << 10

func newCrowdAgent(c *Crowd, n int) *crowdAgent {
	a := &crowdAgent{crowd: c, number: n, rhythm: c.rhythm(n), random: rand.New(rand.NewPCG(uint64(c.Seed), uint64(n))),
		backoff: retry.Backoff{Min: 200 * time.Millisecond, Max: 8 * time.Second, Jitter: true}}
	binary.BigEndian.PutUint64(a.stream[:], uint64(c.Seed)+1)
	binary.BigEndian.PutUint64(a.stream[8:], uint64(n))
	return a
}

// tail is what stands for the tail hash at a place.
func (a *crowdAgent) tail(p place) wire.Hash {
	h := uint64(a.number+1)*0x9e3779b97f4a7c15 ^ uint64(p.seq)*0xbf58476d1ce4e5b9 ^ uint64(p.offset)
	h ^= h >> 31
	return wire.Hash(h * 0x94d049bb133111eb)
}

// errRestart ends a life.
var errRestart = errors.New("the agent starts anew")

// run has one session after the other until ctx ends.
func (a *crowdAgent) run(ctx context.Context) error {
	for err := errRestart; ctx.Err() == nil; {
		if errors.Is(err, errRestart) {
			a.start()
		}
		err = a.session(ctx)
		var l *leave
		switch {
		case errors.Is(err, errWentBack), errors.Is(err, wire.ErrRefused):
			return err
		case errors.Is(err, errRestart):
			continue
		case errors.As(err, &l):
			a.backoff.AtLeast(l.wait)
		}
		retry.Pause(ctx, a.backoff.Next())
	}
	return nil
}

// start begins a life.
func (a *crowdAgent) start() {
	a.life++
	a.backoff.Reset()
	if share := a.crowd.Restarts; share > 0 {
		a.over = time.Now().Add(time.Duration(2 * a.random.Float64() / share * float64(time.Second)))
	}
}

// session is one connection, from its start until it ends.
func (a *crowdAgent) session(ctx context.Context) error {
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	name := CrowdName(a.number)
	w, err := c.greet(wire.Hello{Version: wire.Version, Agent: name, Host: name, Instance: a.stream, Run: a.life, Software: "crowd"})
	if err != nil {
		return err
	}
	if err := a.resume(&w); err != nil {
		return err
	}
	a.backoff.Reset()
	a.welcomed.Store(time.Now().UnixNano())
	return a.talk(c)
}

// connect makes a connection.
func (a *crowdAgent) connect(ctx context.Context) (*crowdConn, error) {
	if a.crowd.TLS == nil {
		return dialCrowd(ctx, a.number, a.crowd.Addrs, nil)
	}
	select {
	case a.crowd.handshakes <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-a.crowd.handshakes }()
	return dialCrowd(ctx, a.number, a.crowd.Addrs, a.crowd.TLS(a.number))
}

// talk sends lines when they are due, and takes answers, until the connection or the life ends.
func (a *crowdAgent) talk(c *crowdConn) error {
	for ping := time.Now().Add(pingEvery); ; {
		now := time.Now()
		until := ping
		switch due := a.due(a.crowd.ended(now)); {
		case !a.over.IsZero() && now.After(a.over):
			return errRestart
		case !now.Before(ping):
			if _, err := c.Write(wire.AppendPing(nil, wire.KindPing, 1)); err != nil {
				return err
			}
			ping = now.Add(pingEvery)
			continue
		case a.flies:
		case due > a.place.seq:
			if err := a.send(c, due, now); err != nil {
				return err
			}
		case !a.crowd.Ended():
			until = earliest(until, a.at(a.place.seq))
		}
		if !a.over.IsZero() {
			until = earliest(until, a.over)
		}
		came, err := c.await(until)
		if came {
			err = a.hear(c)
		}
		if err != nil {
			return err
		}
	}
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// blocks are for the frames of batches.
var blocks = sync.Pool{New: func() any { return &batchBlock{} }}

// batchBlock is memory for a batch while it is written.
type batchBlock struct{ text, frame []byte }

// send sends a batch of the lines before due.
func (a *crowdAgent) send(c *crowdConn, due int, now time.Time) error {
	block := blocks.Get().(*batchBlock)
	defer blocks.Put(block)
	b := wire.Batch{Stream: a.stream, Epoch: 1, Offset: a.place.offset, End: a.place.offset, Before: a.tail(a.place),
		After: a.tail(a.place), Op: wire.OpOpen, Source: "crowd"}
	end, text := a.place, block.text[:0]
	if a.opened {
		for ; end.seq < due && len(text)+Most <= mostBatch; end.seq++ {
			text = a.crowd.Seed.Append(text, a.number, end.seq)
		}
		end.offset += int64(len(text))
		b.Op, b.Text, b.Time = wire.OpData, text, now.UnixMicro()
		b.End, b.After = end.offset, a.tail(end)
	}
	if end.seq > a.sent.seq {
		a.sent = end
	}
	a.flies, a.flight = true, end
	block.text = text
	block.frame = append(wire.AppendBatch(block.frame[:0], &b, wire.Plain, text), text...)
	_, err := c.Write(block.frame)
	return err
}

// hear takes the next frame.
func (a *crowdAgent) hear(c *crowdConn) error {
	f := &c.frame
	if err := c.in.Next(f); err != nil {
		return err
	}
	switch f.Kind {
	case wire.KindAck, wire.KindNack, wire.KindRefuse, wire.KindLater:
		return a.answered(&f.Answer)
	case wire.KindPong:
		return nil
	}
	return unexpected(f)
}

// answered sees to what became of the batch in flight.
func (a *crowdAgent) answered(answer *wire.Answer) error {
	if !a.flies || answer.Stream != a.stream {
		return fmt.Errorf("%w: an answer to a batch that was not sent", wire.ErrProtocol)
	}
	a.flies = false
	err := answer.Err()
	var elsewhere *wire.Expected
	switch {
	case err == nil:
		a.acknowledge(a.flight)
		return nil
	case errors.As(err, &elsewhere):
		return a.moveTo(elsewhere.Known, &elsewhere.Watermark)
	case errors.Is(err, wire.ErrRefused):
		return err
	}
	return &leave{err.Error(), time.Second} // the outcome is unknown
}

// acknowledge notes that all before a place is in the log.
func (a *crowdAgent) acknowledge(p place) {
	if a.place = p; a.opened {
		a.batches.Add(1)
	}
	a.opened = true
	a.acked.Store(int64(p.seq))
}

// resume goes on where a welcome says.
func (a *crowdAgent) resume(w *wire.Welcome) error {
	a.flies = false
	i := slices.IndexFunc(w.Streams, func(s wire.StreamState) bool { return s.Stream == a.stream })
	if i < 0 {
		return a.moveTo(false, nil)
	}
	a.resumed.Add(1)
	return a.moveTo(true, &w.Streams[i].Watermark)
}

// moveTo goes on at the collector's watermark, which must be a line's end between what was
// acknowledged and what was sent.
func (a *crowdAgent) moveTo(known bool, w *wire.Watermark) error {
	if !known {
		if a.place.seq > 0 {
			return fmt.Errorf("%w: %d lines were acknowledged, and the stream is unknown", errWentBack, a.place.seq)
		}
		a.opened = false
		return nil
	}
	p := a.place
	var line [2 * Most]byte
	for p.offset < w.Offset && p.seq < a.sent.seq {
		p.offset += int64(len(a.crowd.Seed.Append(line[:0], a.number, p.seq)))
		p.seq++
	}
	if p.offset != w.Offset || w.Epoch != 1 || w.Tail != a.tail(p) {
		return fmt.Errorf("%w: it is at offset %d; acknowledged is %d, sent %d", errWentBack, w.Offset, a.place.offset,
			a.sent.offset)
	}
	a.acknowledge(p)
	return nil
}
