package nats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fanin/internal/wire"
)

// nameCheck is whether another log's collector serves agents of our name. Agents of one name
// would be torn between two logs.
type nameCheck struct {
	known chan struct{} // closed when it was asked once

	mu    sync.Mutex
	taken error // another log's collector has the name
}

// init prepares to ask, or notes that there is nothing to ask.
func (c *nameCheck) init(asks bool) {
	c.known = make(chan struct{})
	if !asks {
		close(c.known)
	}
}

// set stores the outcome of asking.
func (c *nameCheck) set(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken = nil; errors.Is(err, errTaken) {
		c.taken = err
	}
	select {
	case <-c.known:
	default:
		close(c.known)
	}
}

// wait waits until it is known whether agents' batches in a stream are for this log. The error
// names the log that they are for.
func (c *nameCheck) wait(ctx context.Context) error {
	select {
	case <-c.known:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken
}

// errTaken is matched by errors that name the log that has our name.
var errTaken = errors.New("give one of them another name")

// answerWithin is how long other collectors have to answer.
const answerWithin = 250 * time.Millisecond

// findOther asks whether another log's collector serves agents of this name. The error names
// its log.
func (r *responder) findOther() error {
	sub, err := r.n.Conn.SubscribeSync(r.n.Conn.NewInbox())
	if err != nil {
		return fmt.Errorf("ask for other collectors: %w", err)
	}
	defer sub.Unsubscribe()
	if err := r.n.Conn.PublishRequest(r.subjects.Who(), sub.Subject, nil); err != nil {
		return fmt.Errorf("ask for other collectors: %w", err)
	}
	ctx, cancel := context.WithTimeout(r.n.life.Appending, answerWithin)
	defer cancel()
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil // all have answered
		}
		var f wire.Frame
		err = wire.NewDecoder(bytes.NewReader(m.Data)).Next(&f)
		if err == nil && f.Kind == wire.KindWelcome && f.Welcome.Log != r.me.Log {
			return fmt.Errorf("the collector of the log %s already serves agents = %q on this server; %w",
				f.Welcome.Log, r.subjects, errTaken)
		}
	}
}
