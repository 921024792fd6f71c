package nats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"fanin/ingest"
	"fanin/internal/wire"
)

// isOfStream reports whether a frame changes a stream.
func isOfStream(k wire.Kind) bool {
	return k == wire.KindBatch || k == wire.KindOpen || k == wire.KindSkip || k == wire.KindEnd
}

var (
	errBusy     = errors.New("the batches before it are still being written")
	errNoBudget = errors.New("too many lines wait to be written; send again later")
)

// checkHello checks the first frame of an agent's message. The server vouches for the subject,
// so the host must be the one of the subject, too.
func (n *Input) checkHello(f *wire.Frame, agent string, least int) *ingest.Fault {
	switch {
	case f.Kind != wire.KindHello:
		return protocolFault("an agent's message must begin with a hello")
	case f.Hello.Agent != agent:
		return &ingest.Fault{Reason: "agent_id", Text: fmt.Sprintf("agent %q sent the hello of %q",
			agent, f.Hello.Agent)}
	}
	if fault := ingest.CheckHello(f.Hello, least); fault != nil {
		return fault
	}
	if f.Hello.Version == 1 && !n.Agents.TrustHost {
		f.Hello.Host = agent // version 1 named any host; what it left in a stream is accepted
	}
	if f.Hello.IsRelay() {
		return n.Agents.Relays.Check(&f.Hello, []string{agent})
	}
	if f.Hello.Host != "" && f.Hello.Host != agent && !n.Agents.TrustHost {
		return &ingest.Fault{Reason: "host", Text: fmt.Sprintf("host %q is not the agent's id, %q, "+
			"which is all that a NATS server can vouch for: set host in the agent's configuration, "+
			"or trust_host = true in [[collector.nats]]", f.Hello.Host, agent)}
	}
	return nil
}

// openMessage reads the hello of an agent's message. The next frame is the message itself.
func (n *Input) openMessage(data []byte, agent string, turn *ingest.Turn) (d *wire.Decoder, f wire.Frame,
	fault *ingest.Fault) {
	d, err := n.newDecoder(data, turn)
	if err == nil {
		err = d.Next(&f)
	}
	if err != nil {
		fault = protocolFault("%v", err)
	} else {
		fault = n.checkHello(&f, agent, wire.Version)
	}
	if fault != nil {
		n.freeText(f.Batch.Text)
	}
	return d, f, fault
}

// openBatch reads the frame behind the hello.
func (n *Input) openBatch(data []byte) (f wire.Frame, err error) {
	d, err := n.newDecoder(data, nil)
	if err == nil {
		err = d.Next(&f)
	}
	if err == nil {
		err = d.Next(&f)
	}
	if err == nil && !isOfStream(f.Kind) {
		n.freeText(f.Batch.Text)
		err = fmt.Errorf("a frame of kind %d", f.Kind)
	}
	return f, err
}

// newDecoder decodes the frames of one message. Texts are in blocks of the budget, and freeText
// releases them. turn is that of the message, nil if it has none.
func (n *Input) newDecoder(message []byte, turn *ingest.Turn) (*wire.Decoder, error) {
	d := wire.NewDecoder(bytes.NewReader(message))
	var err error
	if d.Zstd, err = n.unpack(); err != nil {
		return nil, fmt.Errorf("prepare to decompress texts: %w", err)
	}
	unpacking := false
	d.Room = func(size int) ([]byte, error) {
		if unpacking {
			if block := n.Budget.TryAcquire(size); block != nil {
				return block, nil
			}
			turn.Wait() // before the time for its memory begins
		}
		ctx, cancel := context.WithTimeout(n.life.Appending, 10*time.Second)
		defer cancel()
		acquire := n.Budget.Acquire
		if unpacking {
			acquire = n.Budget.Extend
		}
		unpacking = true
		block, err := acquire(ctx, size)
		if err != nil {
			return nil, errNoBudget // also when the input ends: the message is not at fault
		}
		return block, nil
	}
	d.Free = n.freeText
	return d, nil
}

func (n *Input) freeText(text []byte) {
	if cap(text) > 0 {
		n.Budget.Release(text)
	}
}

// offer appends an agent's batch that arrived at a time, when it is its turn, and releases its
// text.
func (n *Input) offer(b *wire.Batch, h *wire.Hello, arrived time.Time, turn *ingest.Turn) error {
	defer n.freeText(b.Text)
	b.Input = n.lines.agents.Name()
	n.Agents.Relays.SetSession(b, h, n.Agents.TrustHost, arrived)
	switch {
	case b.Stream.IsZero():
		return &wire.Refused{Reason: "a batch without a stream"}
	case turn == nil:
		return errBusy
	}
	turn.Wait()
	return ingest.Offer(n.life.Appending, n.Out, n.lines.agents, b)
}
