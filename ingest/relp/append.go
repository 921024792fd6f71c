package relp

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"fanin/ingest"
	"fanin/internal/wire"
)

// idle reports whether no batch is being appended.
func (c *conn) idle() bool { return c.spare != nil || len(c.outcome) > 0 }

// await waits until no batch is being appended, and returns the outcome of the last one.
func (c *conn) await() error {
	if c.spare != nil {
		return nil
	}
	err := <-c.outcome
	c.spare, c.failed = c.flying, c.failed || err != nil
	return err
}

// handOver has the batch appended.
func (c *conn) handOver() (err error) {
	b := c.next
	c.next, err = c.start(b)
	return err
}

// start has a batch appended, and returns an empty one.
func (c *conn) start(b *batch) (empty *batch, err error) {
	if err := c.await(); err != nil {
		return b, err
	}
	empty, c.spare, c.flying = c.spare, nil, b
	c.followDoubt(false)
	go c.commit(b) // ends with its Append and the answers; await waits for the one, finish for the others
	return empty, nil
}

// commit appends a batch and releases it. It then writes the answers, if no other goroutine does: how
// long that takes is the client's to decide, so the next batch does not wait for it.
func (c *conn) commit(b *batch) {
	err := c.append(b)
	if err == nil {
		c.answers.add(b.answers)
	} else {
		c.pending.Add(-int64(len(b.hashes)))
	}
	c.release(b)
	c.outcome <- err
	if err == nil {
		err = c.writeAnswers()
	}
	if err != nil {
		c.Wake() // the reader may wait for bytes
	}
}

func (c *conn) release(b *batch) {
	c.Budget.Release(b.block)
	b.reset()
}

// append commits a batch with the hashes of its messages.
func (c *conn) append(b *batch) error {
	if len(b.hashes) == 0 {
		return nil
	}
	x := c.p.Sessions.change(c.session, b.hashes, c.p.Window)
	if len(x.hashes) == 0 {
		c.p.counts.unremembered.Add(float64(len(b.hashes)))
	}
	if len(b.Text)+len(x.extensions) == 0 {
		c.p.Sessions.committed(c.session, &x)
		return nil
	}
	if b.Extensions = x.extensions; b.Input == "" {
		b.Input, b.Time = c.p.lines.Name(), time.Now().UnixMicro()
	}
	if err := ingest.Offer(c.appending, c.p.Out, c.p.lines, &b.Batch); err != nil {
		c.p.Sessions.failed(c.session, &x)
		return &appendError{err}
	}
	c.p.Sessions.committed(c.session, &x)
	return nil
}

// appendError is an error of Append, not of the connection.
type appendError struct{ error }

func (e *appendError) Unwrap() error { return e.error }

// writeAnswers writes the answers that are due, unless another goroutine does.
func (c *conn) writeAnswers() error {
	for {
		out, acks := c.answers.next()
		if out == nil {
			return nil
		}
		c.Net().SetWriteDeadline(time.Now().Add(c.Limits.FrameTimeout))
		if c.Woken() {
			c.hurry()
		}
		_, err := c.Net().Write(out)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && !c.Woken():
			err = &fault{"unread", fmt.Sprintf("its client does not read the answers, for %v", c.Limits.FrameTimeout)}
		case err != nil:
			err = fmt.Errorf("write answers: %w", err)
		}
		c.pending.Add(-int64(acks))
		c.answers.written(out, err)
		if err != nil {
			return err
		}
	}
}

// decide decides which messages at the beginning of a session are repeats, if that is clear. With full it
// waits until it is.
func (c *conn) decide(full bool) error {
	c.opening.full = c.opening.full || full
	for c.undecided() {
		v := c.p.Sessions.decide(c.session, &c.opening)
		if !v.wait {
			return c.settle(&v)
		}
		if !full {
			return nil
		}
		if err := c.waitForClient(func() { c.Sleep(pollTime) }); err != nil {
			return err
		}
		if c.Woken() {
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}

// settle leaves the messages out that the log has, and has those appended that were held.
func (c *conn) settle(v *verdict) error {
	if v.after != nil {
		c.session = v.after
	}
	held := c.opening.held
	if !allRepeats(held, v.run) {
		return c.giveUp(v)
	}
	c.decided, c.opening = true, opening{}
	if v.after != nil {
		c.Log.Debug("a RELP client sent messages again after a break", "peer", c.Remote(), "messages", v.run)
	}
	run := v.run
	for _, b := range append(held, c.next) {
		messages := min(run, len(b.hashes))
		n, bytes := b.dropFirst(messages)
		c.p.lines.Received(n, bytes)
		c.p.lines.Duplicate(n)
		run -= messages
	}
	c.doubt = v.doubt
	c.countDoubled(v.maybe)
	for i, b := range held {
		if _, err := c.start(b); err != nil {
			c.opening.held = held[i:]
			return err
		}
	}
	return nil
}

// followDoubt ends a doubt if it is resolved, or if the session ends.
func (c *conn) followDoubt(ended bool) {
	if c.doubt != nil && (!c.doubt.open() || ended) {
		c.countDoubled(c.doubt.found)
		c.doubt = nil
	}
}

// countForgotten counts and reports sessions whose repeats are not recognized any more.
func (c *conn) countForgotten() {
	n := c.p.Sessions.forgotten()
	if n == 0 {
		return
	}
	c.p.counts.forgotten.Add(float64(n))
	c.Warn("forgotten", "sessions of RELP clients that broke are not remembered any more, because they are old or too "+
		"many; what their clients send again is in the log twice", "sessions", n)
}

// countDoubled counts and reports messages that are written and may be repeats.
func (c *conn) countDoubled(n int) {
	if n == 0 {
		return
	}
	c.p.counts.maybeDoubled.Add(float64(n))
	c.Warn("maybe_doubled", "messages of a RELP client may be in the log twice: they equal messages that it had sent "+
		"before a break, and nothing shows whether it meant these", "messages", n)
}

// finish appends what is left, and ends the session. err is what ended the reading.
func (c *conn) finish(err error) error {
	c.in.Release(nil)
	if _, failed := c.answers.idle(); failed != nil {
		c.failed = true
	}
	if lost := c.await(); lost != nil {
		err = lost
	} else if !c.failed && (errors.Is(err, errClose) || !c.undecided()) {
		err = c.appendRest(err)
	}
	for _, b := range append(c.opening.held, c.next) { // what is held was not answered
		c.pending.Add(-int64(len(b.hashes)))
		c.release(b)
	}
	c.followDoubt(true)
	if failed := c.answers.settle(); failed != nil && !errors.As(err, new(*appendError)) {
		err = failed
	}
	closes := errors.Is(err, errClose)
	if c.session != nil && !closes {
		c.p.Sessions.finish(c.session)
	}
	if closes {
		err = c.forget()
	}
	c.countForgotten()
	return err
}

// appendRest appends the messages that are left, and returns err unless that fails.
func (c *conn) appendRest(err error) error {
	if wrong := c.decide(true); wrong != nil {
		return wrong
	}
	if !c.ready() {
		return err
	}
	if lost := c.handOver(); lost != nil {
		return lost
	}
	if lost := c.await(); lost != nil {
		return lost
	}
	return err
}

// forget has the log forget a session that its client closes, and answers the close.
func (c *conn) forget() error {
	if c.session != nil {
		if x := c.p.Sessions.close(c.session); len(x.extensions) > 0 {
			b := wire.Batch{Input: c.p.lines.Name(), Time: time.Now().UnixMicro()}
			b.Extensions = x.extensions
			if err := c.p.Out.Append(c.appending, b); err != nil {
				c.p.Sessions.failed(c.session, &x)
				return &appendError{err}
			}
		}
	}
	c.answers.add([]answer{{c.closing, 1, replyClose}})
	if err := c.writeAnswers(); err != nil {
		return err
	}
	return errClose
}

// broken reports whether err is of the connection itself, so that nothing can be written to the peer.
func (c *conn) broken(err error) bool {
	ours := errors.Is(err, errClose) || errors.As(err, new(*fault)) || errors.As(err, new(*appendError))
	return !ours && !c.Woken() && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded)
}

// sayLast tells the client that the session ends, and reads until it has closed: what it has not read of
// its answers would be lost else. err is why the session ends.
func (c *conn) sayLast(err error) {
	if err == nil || c.broken(err) {
		return
	}
	if c.opened {
		c.hurry()
		io.WriteString(c.Net(), serverClose)
	}
	c.HangUp()
}

// report counts and logs why the collector ended the session.
func (c *conn) report(err error) {
	var f *fault
	var lost *appendError
	switch {
	case errors.As(err, &f):
		c.Reject(f.reason, "a RELP session was ended: "+f.text)
	case errors.As(err, &lost):
		reason := "unknown"
		switch {
		case errors.Is(lost, wire.ErrRefused):
			reason = "refused"
		case errors.Is(lost, wire.ErrDraining):
			reason = "draining"
		}
		c.Reject(reason, "a RELP session was ended because its messages were not written; its client sends them again",
			"error", lost.error)
	case c.Displaced():
		c.Reject("displaced", "a RELP session that was silent for long was ended for a new connection: "+
			"raise max_conns if both are wanted", "limit", c.MaxConns())
	case c.Woken() || !errors.Is(err, os.ErrDeadlineExceeded):
	case !c.begun.IsZero():
		c.Reject("timeout", "a RELP session was ended because a frame had begun and did not end in time",
			"after", c.Limits.FrameTimeout)
	default:
		c.Reject("idle", "a silent RELP session was ended: raise idle_timeout if it is wanted",
			"after", c.Limits.IdleTimeout)
	}
}
