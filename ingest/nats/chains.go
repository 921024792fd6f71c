package nats

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"fanin/internal/natsconn"
	"fanin/internal/wire"
)

// chain is the batches of one stream of an agent, in their order.
type chain struct {
	list    []batchMessage
	answers []lateAnswer // of a partition
	err     error
}

// batchMessage is a message of the JetStream stream with an agent's batch.
type batchMessage struct {
	message
	hello  wire.Hello
	stream wire.StreamID // as the agent names it
	epoch  uint32
	from   int64 // where it begins and ends in its source
	to     int64
	read   bool // epoch, from and to are known
}

// id is the stream as the log names it.
func (b *batchMessage) id() wire.StreamID { return b.stream.Owned(wire.StreamAgent, b.hello.Owner()) }

// offsets is where in its source the batch is.
func (b *batchMessage) offsets() string {
	if !b.read {
		return "?"
	}
	return fmt.Sprintf("%d-%d", b.from, b.to)
}

// committed reports whether an answer says that the log has the lines of the batch.
func (b *batchMessage) committed(a *wire.Answer) bool {
	e := &a.Expected
	return a.Kind == wire.KindAck ||
		a.Kind == wire.KindNack && e.Known && (e.Epoch > b.epoch || e.Epoch == b.epoch && e.Offset >= b.to)
}

// link appends an agent's batch to the chain of its stream.
func (s *streamReader) link(chains map[wire.StreamID]*chain, m message) error {
	d := wire.NewDecoder(bytes.NewReader(m.data))
	var f wire.Frame
	if err := d.Next(&f); err != nil {
		return err
	}
	if fault := s.n.checkHello(&f, natsconn.AgentOf(m.subject), 1); fault != nil {
		return fault
	}
	b := batchMessage{message: m, hello: f.Hello}
	var err error
	if b.stream, err = d.PeekStream(); err != nil {
		return err
	}
	c := chains[b.id()]
	if c == nil {
		c = new(chain)
		chains[b.id()] = c
	}
	c.list = append(c.list, b)
	return nil
}

// appendBatches commits the batches of one stream, one after the other, and answers each with its
// outcome. What the log refused, and what no agent sends again, is stored.
func (s *streamReader) appendBatches(c *chain) error {
	for i := range c.list {
		b := &c.list[i]
		answer, err := s.appendOne(b)
		if err != nil {
			return err
		}
		if unanswered(b.answer) && !b.committed(&answer) {
			refused := &Refused{Agent: b.hello.Agent, Stream: b.id().String(), Offsets: b.offsets(),
				Reason: answer.Err().Error()}
			if err := s.storeRefused(&b.message, refused); err != nil {
				return err
			}
		}
		s.answer(c, b, answer)
	}
	return nil
}

// appendOne commits one batch. It repeats that until the outcome is known: the agent may be gone.
func (s *streamReader) appendOne(b *batchMessage) (wire.Answer, error) {
	var unreadable error
	known, outcome := s.untilDecided(func() error {
		f, err := s.n.openBatch(b.data)
		if errors.Is(err, errNoBudget) {
			return err
		}
		if unreadable = err; err != nil {
			return nil
		}
		b.epoch, b.from, b.to, b.read = f.Batch.Epoch, f.Batch.Offset, f.Batch.End, true
		turn, _ := s.n.Sessions.StartFrame(b.hello.Owner(), b.stream) // nil: an agent asks directly, too
		defer turn.Answered()
		return s.n.offer(&f.Batch, &b.hello, b.time, turn) // it may have waited in the stream for days
	})
	if !known {
		return wire.Answer{}, outcome
	}
	if unreadable != nil {
		s.n.reject("protocol", "an agent's batch in a stream cannot be read", "stream", s.n.Stream.Name, "seq", b.seq,
			"agent", b.hello.Agent, "error", unreadable)
		outcome = &wire.Refused{Reason: unreadable.Error()}
	}
	return wire.AnswerTo(b.stream, outcome), nil
}

// answerHeader is where an agent expects its answer, below its own subject; "" if the header is
// not part of a valid subject.
func answerHeader(h nats.Header) string {
	where := h.Get(natsconn.HeaderAnswer)
	if len(where) > 128 {
		return ""
	}
	for i, c := range []byte(where) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-'
		if !letter && (c != '.' || i == 0 || i == len(where)-1 || where[i-1] == '.') {
			return ""
		}
	}
	return where
}
