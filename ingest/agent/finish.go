package agent

import (
	"errors"
	"io"
	"os"

	"fanin/ingest"
	"fanin/internal/wire"
)

// finish waits for what is in flight and answers it, releases the agent id, and only
// then reports to the agent why the connection ends: a connection that takes over need
// not wait for that. err is what ended the reading.
func (c *conn) finish(err error) error {
	c.arrival.Done(false) // the answers may wait for an agent that does not read
	c.flying.Wait()
	if broken := c.broken.Load(); broken != nil {
		err = *broken
	}
	c.answers.stop()
	if c.claim != nil {
		c.p.Sessions.Release(c.claim)
	}
	c.answers.hurry()
	if last := c.lastWord(err); last != nil {
		c.answers.write(last)
		c.HangUp()
		return nil
	}
	c.answers.flush() // an agent that only stopped sending still reads
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// lastWord returns the frame that ends the connection; nil: the agent is gone.
func (c *conn) lastWord(err error) []byte {
	var f *ingest.Fault
	evicted := c.evicted.Load()
	switch {
	case evicted != nil: // counted by the claim
		c.Warn("taken_over", "an agent's connection was ended: "+*evicted)
		return wire.AppendFault(nil, *evicted, ingest.FaultPause)
	case c.Draining():
		return wire.AppendDrain(nil)
	case c.arrival.Dismissed(): // after the answers to the frames before it, which may be of its stream
		later := wire.AppendAnswer(nil, wire.AnswerTo(c.dismissed, ingest.ErrCrowded))
		return append(later, c.fault("room", ingest.ErrCrowded.Error())...)
	case errors.As(err, &f):
		return c.fault(f.Reason, f.Text)
	case errors.Is(err, wire.ErrProtocol):
		return c.fault("protocol", err.Error())
	case errors.Is(err, os.ErrDeadlineExceeded):
		return c.fault("timeout", "the agent was silent, or sent a frame too slowly: "+err.Error())
	}
	return nil
}

// fault counts and logs why the connection ends, and returns the frame that reports it.
func (c *conn) fault(reason, text string) []byte {
	c.Reject(reason, "an agent's connection was ended: "+text)
	return wire.AppendFault(nil, text, ingest.FaultPause)
}
