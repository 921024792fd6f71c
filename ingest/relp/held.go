package relp

import "fanin/ingest/stream"

// A session holds memory of the budget while it waits for its client in two ways: for the client to read
// answers, and for more messages at the beginning of the session, which decide whether the first ones are
// repeats. Both are for the client to end. So what is held meanwhile is pinned, and what the budget does not
// let be pinned is given up. That is harmless: all that was not answered the client sends again.

// messageSize is about how many bytes of memory a message takes whose text is not held.
const messageSize = 16

// freeMessages may be held by every session.
const freeMessages = 256

// hold sets a full batch aside while it is not decided which messages are repeats. It reports false
// if no more may be held.
func (c *conn) hold() bool {
	o := &c.opening
	if o.full || c.next.crowded() || len(o.hashes) > c.p.Window || o.size > maxHeld {
		return false
	}
	c.setAside()
	return true
}

func (c *conn) setAside() {
	o := &c.opening
	o.held, o.size = append(o.held, c.next), o.size+len(c.next.block)
	c.next = new(batch)
}

// awaitAnswers waits while the client does not read its answers: no batch is begun meanwhile.
func (c *conn) awaitAnswers() error {
	if len(c.next.answers) > 0 || !c.answers.many() {
		return nil
	}
	if err := c.waitForClient(c.answers.awaitFew); err != nil {
		return err
	}
	_, failed := c.answers.idle()
	return failed
}

// waitForClient runs wait, in which the session waits for its client, but not for bytes.
func (c *conn) waitForClient(wait func()) error {
	unpin, err := c.pinHeld()
	if err != nil {
		return err
	}
	ok := c.in.Pause(wait)
	if unpin(); !ok {
		return errMemory
	}
	return c.in.Settle(c.appending)
}

// pinHeld pins what is held while it is not decided which messages are repeats. If the budget does not
// let it, their text is given up: the log has it, unless the decision is that they are none.
func (c *conn) pinHeld() (unpin func(), err error) {
	if !c.undecided() {
		return func() {}, nil
	}
	size, messages := c.opening.size+len(c.next.block), messageSize*max(len(c.opening.hashes)-freeMessages, 0)
	block := 0 // that is pinned next
	if c.in.Have > stream.RestSize {
		block = len(c.in.Block)
	}
	if !c.Budget.Pin(c.Peer, size+messages+block) {
		c.dropHeld()
		size = 0
		if !c.Budget.Pin(c.Peer, messages+block) {
			return nil, errMemory
		}
	}
	c.Budget.Unpin(c.Peer, block)
	return func() { c.Budget.Unpin(c.Peer, size+messages) }, nil
}

// dropHeld gives up the text of all messages that are held, if any are.
func (c *conn) dropHeld() {
	if !c.undecided() {
		return
	}
	o := &c.opening
	if len(c.next.hashes) > 0 {
		c.setAside()
	}
	for _, b := range o.held {
		if !b.dropped && len(b.hashes) > 0 {
			c.Budget.Release(b.dropText())
		}
	}
	o.size = 0
}

// allRepeats reports whether all messages without text are among the first run messages.
func allRepeats(held []*batch, run int) bool {
	for _, b := range held {
		if run -= len(b.hashes); b.dropped && run < 0 {
			return false
		}
	}
	return true
}

// giveUp ends a session because messages without text are no repeats. Its client sends them again.
func (c *conn) giveUp(v *verdict) error {
	c.failed = true // nothing of it is answered
	switch {
	case v.after != nil: // which was not known when the text was given up
	case v.maybe > 0:
		c.p.Sessions.refute(c.session, c.opening.hashes[0], 1)
	default:
		c.p.Sessions.refute(c.session, c.opening.hashes[0], refuted)
	}
	return errMemory
}
