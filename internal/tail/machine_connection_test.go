package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"fanin/internal/retry"
	"fanin/internal/wire"
)

// connection carries the batches of one run of the agent to the collector, with latencies,
// failures and lost answers that depend on the batch and on how often it was sent.
type connection struct {
	to  *collector
	log *record // of what arrives

	// Under to.mu.
	seed     uint64            // 0: all goes well
	attempts map[string]uint64 // by batch
	away     bool              // nothing arrives
	dead     bool              // the agent was killed
}

var errConnection = errors.New("the connection broke")

func (c *connection) set(change func()) {
	c.to.mu.Lock()
	defer c.to.mu.Unlock()
	change()
}

func (c *connection) isDead() (dead bool) {
	c.set(func() { dead = c.dead })
	return dead
}

// fate is what becomes of a batch: how long it and its answer need, and whether either of
// them is lost.
type fate struct {
	latency          time.Duration
	lost, unanswered bool
}

func (c *connection) fate(b *wire.Batch) (x fate) {
	c.to.mu.Lock()
	defer c.to.mu.Unlock()
	if c.away {
		return fate{lost: true}
	}
	if c.seed == 0 {
		return fate{}
	}
	key := fmt.Sprint(b.Op, b.Source, b.Epoch, b.Offset, b.End, b.After)
	h := fnv.New64a()
	fmt.Fprint(h, c.seed, key, c.attempts[key])
	c.attempts[key]++
	n, rate := h.Sum64(), c.seed%4
	x.latency = []time.Duration{0, 0, time.Millisecond, 40 * time.Millisecond, 700 * time.Millisecond}[n%5]
	x.lost, x.unanswered = n>>8%12 < rate, n>>16%12 < rate
	return x
}

// Append is wire.Appender's. What is on its way when the agent ends may arrive all the same.
func (c *connection) Append(ctx context.Context, b wire.Batch) error {
	if c.isDead() { // what had not been sent when the agent was killed is never sent
		return errConnection
	}
	x := c.fate(&b)
	ended := retry.Pause(ctx, x.latency) != nil || c.isDead()
	if x.lost || ended && !x.unanswered {
		return errConnection
	}
	err := c.to.Append(context.WithoutCancel(ctx), b)
	text, _, _ := bytes.Cut(b.Text, []byte("\n"))
	fmt.Fprintf(c.log, "%s the collector got op %v of %.8s (%s), epoch %d, %d to %d, %.12q..., answered %v: %v\n",
		time.Now().Format("15:04:05.000"), b.Op, b.Stream, b.Source, b.Epoch, b.Offset, b.End, text, !x.unanswered, err)
	if err != nil {
		return err
	}
	if retry.Pause(ctx, x.latency) != nil || c.isDead() || x.unanswered {
		return errConnection
	}
	return nil
}
