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

	"fanin/internal/ship"
	"fanin/internal/wire"
)

// crowdAgent is one agent of a Crowd.
type crowdAgent struct {
	rhythm
	crowd  *Crowd
	number int
	stream wire.StreamID
	life   int64 // grows with each start

	// The goroutine's own.
	place  place // acknowledged
	sent   place // the end of the last batch, whatever became of it
	opened bool

	welcomes chan wire.Welcome // of sessions that began, the newest

	welcomed                atomic.Int64 // when the last session began, UnixNano
	acked, batches, resumed atomic.Int64
}

// place is a place in an agent's source.
type place struct {
	seq    int   // lines before it
	offset int64 // bytes before it
}

// mostBatch is how many bytes of lines a batch has, about: as an agent that reads small blocks.
const mostBatch = 16 << 10

func newCrowdAgent(c *Crowd, n int) *crowdAgent {
	a := &crowdAgent{crowd: c, number: n, rhythm: c.rhythm(n), welcomes: make(chan wire.Welcome, 1)}
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

// run lives one life after the other until ctx ends.
func (a *crowdAgent) run(ctx context.Context) error {
	random := rand.New(rand.NewPCG(uint64(a.crowd.Seed), uint64(a.number)))
	for ctx.Err() == nil {
		once, end := ctx, context.CancelFunc(func() {})
		if share := a.crowd.Restarts; share > 0 {
			once, end = context.WithTimeout(ctx, time.Duration(2*random.Float64()/share*float64(time.Second)))
		}
		err := a.live(once)
		end()
		if err != nil {
			return err
		}
	}
	return nil
}

// live is the agent from its start until ctx ends.
func (a *crowdAgent) live(ctx context.Context) error {
	a.life++
	name := CrowdName(a.number)
	s := &ship.TCP{Addrs: a.crowd.Addrs, OnWelcome: a.onWelcome, Compress: "none",
		Hello: wire.Hello{Agent: name, Host: name, Instance: a.stream, Run: a.life, Software: "crowd"}}
	if a.crowd.TLS != nil {
		config := a.crowd.TLS(a.number)
		s.TLS = config.Clone
	}
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) }) // ends with ctx
	defer running.Wait()
	a.forgetWelcome()
	if err := a.resume(ctx); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := a.crowd.ended(time.Now())
		if due := a.due(now); due > a.place.seq {
			if err := a.send(ctx, s, due); err != nil {
				return err
			}
			continue
		}
		next := time.Until(a.at(a.place.seq))
		if a.crowd.Ended() {
			next = time.Second // nothing more is due
		}
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// texts are blocks for the lines of batches.
var texts = sync.Pool{New: func() any { b := make([]byte, 0, 1<<10); return &b }}

// send sends a batch of the lines before due, and sees to what comes of it.
func (a *crowdAgent) send(ctx context.Context, to wire.Appender, due int) error {
	text := texts.Get().(*[]byte)
	defer texts.Put(text)
	if *text = (*text)[:0]; cap(*text) > 2*mostBatch {
		*text = nil
	}
	b := wire.Batch{Stream: a.stream, Epoch: 1, Offset: a.place.offset, End: a.place.offset, Before: a.tail(a.place),
		After: a.tail(a.place), Op: wire.OpOpen, Source: "crowd"}
	end := a.place
	if a.opened {
		for ; end.seq < due && len(*text) < mostBatch; end.seq++ {
			*text = a.crowd.Seed.Append(*text, a.number, end.seq)
		}
		end.offset += int64(len(*text))
		b.Op, b.Text, b.Time = wire.OpData, *text, time.Now().UnixMicro()
		b.End, b.After = end.offset, a.tail(end)
	}
	if end.seq > a.sent.seq {
		a.sent = end
	}
	err := to.Append(ctx, b)
	var elsewhere *wire.Expected
	switch {
	case err == nil:
		a.acknowledge(end)
	case errors.As(err, &elsewhere):
		return a.moveTo(elsewhere.Known, &elsewhere.Watermark)
	case errors.Is(err, wire.ErrRefused):
		return err
	default:
		return a.resume(ctx) // the outcome is unknown
	}
	return nil
}

// acknowledge notes that all before a place is in the log.
func (a *crowdAgent) acknowledge(p place) {
	if a.place = p; a.opened {
		a.batches.Add(1)
	}
	a.opened = true
	a.acked.Store(int64(p.seq))
	a.forgetWelcome() // it is older than the answer
}

func (a *crowdAgent) forgetWelcome() {
	select {
	case <-a.welcomes:
	default:
	}
}

// onWelcome notes that a session began.
func (a *crowdAgent) onWelcome(w wire.Welcome, _ int) {
	a.welcomed.Store(time.Now().UnixNano())
	a.forgetWelcome()
	a.welcomes <- w // has space: only this goroutine adds
}

// answerTime is how long an agent waits for a new session before it sends again in the same one:
// the collector may only have said "later".
const answerTime = time.Second

// resume waits for a session, and goes on where its welcome says.
func (a *crowdAgent) resume(ctx context.Context) error {
	timer := time.NewTimer(answerTime)
	defer timer.Stop()
	select {
	case w := <-a.welcomes:
		i := slices.IndexFunc(w.Streams, func(s wire.StreamState) bool { return s.Stream == a.stream })
		if i < 0 {
			return a.moveTo(false, nil)
		}
		a.resumed.Add(1)
		return a.moveTo(true, &w.Streams[i].Watermark)
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
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
