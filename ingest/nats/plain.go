package nats

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/internal/lines"
	"fanin/internal/retry"
	"fanin/internal/wire"
)

// subjectReader takes the plain messages of one subject as they are published. They
// cannot be had again: what comes while 64 MiB wait is dropped, counted and said.
type subjectReader struct {
	n       *Input
	subject string
	sub     *nats.Subscription
	pile    pile
	said    time.Time // when drops were said last
	unsaid  int
}

func (p *subjectReader) run() {
	part := "subject " + p.subject
	for !p.n.isDraining() {
		err := p.subscribe()
		if err == nil {
			p.n.setTrouble(part, nil)
			err = p.listen()
		}
		if err != nil {
			p.n.setTrouble(part, err)
			p.n.pause(2 * time.Second)
		}
	}
}

// listen takes messages until the listener drains, or the subscription is no good
// any more.
func (p *subjectReader) listen() error {
	defer p.finish()
	for !p.n.isDraining() {
		m, err := p.sub.NextMsg(250 * time.Millisecond)
		p.sayDrops(false)
		switch {
		case err == nil:
			p.take(m)
		case !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, nats.ErrSlowConsumer):
			return fmt.Errorf("listen on %s: %w", p.subject, err)
		}
	}
	return nil
}

func (p *subjectReader) subscribe() error {
	if !p.n.connected() {
		return errors.New("not connected")
	}
	err := p.n.subscribed(p.subject, func() (err error) {
		if p.n.Queue != "" {
			p.sub, err = p.n.Conn.QueueSubscribeSync(p.subject, p.n.Queue)
		} else {
			p.sub, err = p.n.Conn.SubscribeSync(p.subject)
		}
		if err != nil {
			return err
		}
		return p.sub.SetPendingLimits(-1, p.n.Pending)
	})
	if err != nil && p.sub != nil {
		p.sub.Unsubscribe()
	}
	return err
}

// take gives m, and all that is there behind it.
func (p *subjectReader) take(m *nats.Msg) {
	for {
		p.add(m)
		waiting, _, err := p.sub.Pending()
		if err != nil || waiting == 0 {
			break
		}
		if m, err = p.sub.NextMsg(time.Second); err != nil {
			break
		}
	}
	p.give()
}

func (p *subjectReader) add(m *nats.Msg) {
	if p.n.isOwn(m.Subject) {
		return
	}
	p.n.Metrics.messages.Inc()
	text := p.n.lines(m.Data)
	if text == nil {
		p.n.Metrics.empty.Inc()
		return
	}
	for piece := range lines.Chunks(text) {
		if !p.pile.fits(len(piece)) {
			p.give()
		}
		p.pile.add(sourceOf(m.Subject), piece, 0, 0)
	}
}

func (p *subjectReader) give() {
	if p.pile.empty() {
		return
	}
	p.n.plainLines.Received(p.pile.lines, len(p.pile.Text))
	err := p.n.Out.Append(p.n.ctx, wire.Batch{Time: time.Now().UnixMicro(), Input: "nats", Host: p.n.Host,
		Cuts: p.pile.Cuts, Marks: p.pile.Marks, Text: p.pile.Text})
	if err != nil {
		p.n.plainLines.Unsure(p.pile.lines)
		p.n.limited.Warn("nats_append", "lines of messages were not taken", "subject", p.subject, "lines", p.pile.lines, "error", err)
	}
	p.pile.reset()
}

// sayDrops says at most once in ten seconds what had to be dropped.
func (p *subjectReader) sayDrops(last bool) {
	p.unsaid += p.n.Metrics.countDrops(p.sub)
	if p.unsaid == 0 || !last && time.Since(p.said) < retry.LogEvery {
		return
	}
	p.n.Log.Warn("messages were dropped: they came faster than they could be kept", "subject", p.subject, "messages", p.unsaid,
		"remedy", "publish them through a JetStream stream, or raise pending")
	p.n.Notice("LOST n=%d unit=messages reason=nats-slow-consumer subject=%s: they came faster than they could be kept", p.unsaid, p.subject)
	p.unsaid, p.said = 0, time.Now()
}

// finish gives what has come until now.
func (p *subjectReader) finish() {
	p.sub.Drain()
	for {
		p.sayDrops(false) // a subscription that is through no longer knows how many
		m, err := p.sub.NextMsg(50 * time.Millisecond)
		if errors.Is(err, nats.ErrSlowConsumer) {
			continue // said once; what is there is there
		}
		if err != nil {
			break
		}
		p.take(m)
	}
	p.sayDrops(true)
}

// lines is a message's text as whole lines, none too long; nil: it has none.
func (n *Input) lines(message []byte) []byte {
	text := plainLines(message)
	if lines.FirstLong(text, n.MaxLine) < len(text) {
		out, splits := lines.Split(nil, text, n.MaxLine)
		n.plainLines.Split(splits)
		text = out
	}
	return text
}

// sourceOf is the source that a subject makes of its messages' lines.
func sourceOf(subject string) string {
	if subject == wire.SourceNotice {
		return "nats/" + subject
	}
	return wire.CleanSource(subject)
}
