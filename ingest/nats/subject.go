package nats

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/ingest"
	"fanin/internal/lines"
	"fanin/internal/retry"
	"fanin/internal/sequence"
	"fanin/internal/wire"
)

// subjectReader reads the plain messages of one subject as they are published. They cannot be
// read again: what comes while PlainOptions.Pending bytes wait is dropped, counted and reported.
type subjectReader struct {
	n       *Input
	subject string
	sub     *nats.Subscription
	batch   sequence.Builder

	drops      drops     // of sub
	reported   time.Time // when drops were reported last
	unreported int       // messages dropped since
}

func (r *subjectReader) run() {
	for !r.n.life.Draining() {
		err := r.subscribe()
		if err == nil {
			r.n.setTrouble(subjectPart(r.subject), nil)
			err = r.listen()
		}
		if err != nil {
			r.n.setTrouble(subjectPart(r.subject), err)
			r.n.life.Pause(2 * time.Second)
		}
	}
}

// listen reads messages until the input drains, or the subscription has ended.
func (r *subjectReader) listen() error {
	defer r.finish()
	for !r.n.life.Draining() {
		m, err := r.sub.NextMsg(250 * time.Millisecond)
		r.reportDrops(false)
		switch {
		case err == nil:
			r.appendFrom(m)
		case !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, nats.ErrSlowConsumer):
			return fmt.Errorf("listen on %s: %w", r.subject, err)
		}
	}
	return nil
}

func (r *subjectReader) subscribe() error {
	if !r.n.connected() {
		return errors.New("not connected")
	}
	r.drops = make(drops)
	err := r.n.subscribe(r.subject, func() (err error) {
		if r.n.Plain.Queue != "" {
			r.sub, err = r.n.Conn.QueueSubscribeSync(r.subject, r.n.Plain.Queue)
		} else {
			r.sub, err = r.n.Conn.SubscribeSync(r.subject)
		}
		if err != nil {
			return err
		}
		return r.sub.SetPendingLimits(-1, r.n.Plain.Pending)
	})
	if err != nil && r.sub != nil {
		r.sub.Unsubscribe()
	}
	return err
}

// appendFrom appends m and all messages that wait behind it.
func (r *subjectReader) appendFrom(m *nats.Msg) {
	for {
		r.add(m)
		waiting, _, err := r.sub.Pending()
		if err != nil || waiting == 0 {
			break
		}
		if m, err = r.sub.NextMsg(time.Second); err != nil {
			break
		}
	}
	r.append()
}

func (r *subjectReader) add(m *nats.Msg) {
	if r.n.isOwn(m.Subject) {
		return
	}
	r.n.Metrics.messages.Inc()
	text := r.n.text(m.Data)
	if text == nil {
		r.n.Metrics.empty.Inc()
		return
	}
	for chunk := range lines.Chunks(text) {
		if !r.batch.Fits(len(chunk)) {
			r.append()
		}
		r.batch.Add(sourceOf(m.Subject), chunk, wire.Point{})
	}
}

// append appends the batch that was built.
func (r *subjectReader) append() {
	if r.batch.Empty() {
		return
	}
	in := r.n.lines.plain
	in.Received(r.batch.Lines, len(r.batch.Text))
	err := r.n.Out.Append(r.n.life.Appending, wire.Batch{Time: time.Now().UnixMicro(), Input: in.Name(),
		Host: r.n.Plain.Host, Cuts: r.batch.Cuts, Marks: r.batch.Marks, Text: r.batch.Text})
	if err != nil {
		ingest.Lost(in, r.batch.Lines, err)
		r.n.limited.Warn("nats_append", "lines of messages may not be in the log", "subject", r.subject,
			"lines", r.batch.Lines, "error", err)
	}
	r.batch.Reset()
}

// reportDrops reports dropped messages, at most every ten seconds unless they are the last.
func (r *subjectReader) reportDrops(last bool) {
	r.unreported += r.n.Metrics.countDrops(r.drops, r.sub)
	if r.unreported == 0 || !last && time.Since(r.reported) < retry.LogEvery {
		return
	}
	r.n.Log.Warn("messages were dropped: they came faster than they could be written", "subject", r.subject,
		"messages", r.unreported, "remedy", "publish them through a JetStream stream, or raise pending")
	r.n.Notice("LOST n=%d unit=messages reason=nats-slow-consumer subject=%s: "+
		"they came faster than they could be written", r.unreported, r.subject)
	r.unreported, r.reported = 0, time.Now()
}

// finish appends what has come until now.
func (r *subjectReader) finish() {
	r.sub.Drain()
	for {
		r.reportDrops(false) // a subscription that has ended does not know the number any more
		m, err := r.sub.NextMsg(50 * time.Millisecond)
		if errors.Is(err, nats.ErrSlowConsumer) {
			continue // reported once for each series of drops
		}
		if err != nil {
			break
		}
		r.appendFrom(m)
	}
	r.reportDrops(true)
}
