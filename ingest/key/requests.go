// Package key commits requests that have a key exactly once, as long as the log
// knows the key: a chunk of Fluent's forward protocol, an HTTP request with an
// Idempotency-Key, a batch of a Redis list, or a body that is its own key.
//
// A request is a small stream of the log whose offsets are record numbers. The log
// compares and swaps, as with any stream, so it does not matter how often a request
// arrives, or whether the collector was killed when a part of it was committed.
package key

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"fanin/internal/wire"
)

// Requests commits requests to a log. Log is required.
type Requests struct {
	Log wire.Appender

	mu       sync.Mutex
	inFlight map[wire.StreamID]chan struct{} // closed when the outcome of the request is known
}

// Outcome describes how a request was committed.
type Outcome struct {
	Repeat       bool // all of it was committed before
	MaybeDoubled bool // it is too old for the log to know that it was not committed before
}

// Append commits r, and returns nil when all of its lines are in the log: the sender
// may then have its acknowledgement. wire.ErrOtherContent means that the key was
// used before for other content; any error that is a wire.ErrRefused is final. With any
// other error the outcome is not known, and the sender may send the request again.
//
// A request whose key is in flight waits until the outcome of the other one is known.
func (q *Requests) Append(ctx context.Context, r Request) (Outcome, error) {
	list, content := r.batches()
	if content == 0 {
		return Outcome{}, &wire.Refused{Reason: "a request without lines"}
	}
	id := list[0].Stream
	if err := q.enter(ctx, id); err != nil {
		return Outcome{}, err
	}
	defer q.leave(id)
	return q.send(ctx, list)
}

// enter waits until no other request with this key is in flight.
func (q *Requests) enter(ctx context.Context, id wire.StreamID) error {
	for {
		q.mu.Lock()
		other := q.inFlight[id]
		if other == nil {
			if q.inFlight == nil {
				q.inFlight = make(map[wire.StreamID]chan struct{})
			}
			q.inFlight[id] = make(chan struct{})
			q.mu.Unlock()
			return nil
		}
		q.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return fmt.Errorf("wait for a request with the same key: %w", ctx.Err())
		}
	}
}

func (q *Requests) leave(id wire.StreamID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.inFlight[id])
	delete(q.inFlight, id)
}

// maxMoves is how often the log may be at another record than the request. Once is
// usual: a kill ended the first attempt. More often means that keys are forgotten faster
// than requests are sent.
const maxMoves = 4

// send appends the batches of a request. Those that the log has are repeats to it.
func (q *Requests) send(ctx context.Context, list []wire.Batch) (Outcome, error) {
	o := Outcome{Repeat: true}
	key, moves := list[0].Key, 0
	for i := 0; i < len(list); {
		*key = wire.Key{Content: key.Content, Hashed: key.Hashed, Made: key.Made}
		err := q.Log.Append(ctx, list[i])
		var at *wire.Expected
		if err == nil {
			o.Repeat = o.Repeat && key.Repeat
			o.MaybeDoubled = o.MaybeDoubled || key.MaybeDoubled
			i++
			continue
		}
		if moves++; !errors.As(err, &at) || moves > maxMoves {
			return Outcome{}, err
		}
		if !at.Known || at.Offset < list[i].Offset {
			i = 0 // the log forgot what it had
		}
		if at.Known {
			var same bool
			if list, same = divide(list, at.Offset, at.Tail); !same {
				return Outcome{}, wire.ErrOtherContent
			}
		}
	}
	return o, nil
}
