package nats

import (
	"bytes"

	"github.com/nats-io/nats.go"

	"fanin/ingest"
	"fanin/internal/natsconn"
	"fanin/internal/wire"
)

// turns gives the messages of a subscription their turns, in the order in which they come: each
// is handled on a goroutine of its own, and those of one stream may be a chain.
type turns struct {
	n    *Input
	from bytes.Reader
	peek *wire.Decoder
}

func newTurns(n *Input) *turns {
	t := &turns{n: n, peek: wire.NewDecoder(nil)}
	t.peek.Room = func(int) ([]byte, error) { return nil, errNoBudget } // a hello has no text
	return t
}

// next returns the turn of the next message; nil: it is of no stream, or of one that has too many
// in flight.
func (t *turns) next(m *nats.Msg) *ingest.Turn {
	t.from.Reset(m.Data)
	t.peek.Reset(&t.from)
	var f wire.Frame
	if err := t.peek.Next(&f); err != nil || f.Kind != wire.KindHello || f.Hello.Agent != natsconn.AgentOf(m.Subject) {
		return nil // the message is rejected
	}
	stream, err := t.peek.PeekStream()
	if err != nil || stream.IsZero() {
		return nil
	}
	turn, _ := t.n.Sessions.StartFrame(f.Hello.Owner(), stream)
	return turn
}
