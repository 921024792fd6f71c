package nats

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natsconn"
)

// Refused is a batch from a JetStream stream that the log does not have: it could not be decoded,
// or the log refused it, and its agent relied on the stream and waits for no answer. It is stored
// as a file of its own, a line of JSON with these fields and then the message, before it is
// acknowledged: the stream may remove it then.
type Refused struct {
	File    string    `json:"-"`
	From    string    `json:"stream"`  // the JetStream stream
	Seq     uint64    `json:"seq"`     // its number there
	Time    time.Time `json:"time"`    // when the stream stored it
	Subject string    `json:"subject"` // where to publish it again
	Agent   string    `json:"agent"`
	Stream  string    `json:"agent_stream,omitempty"` // the agent's, as fanin-collector streams names it
	Offsets string    `json:"offsets,omitempty"`      // in its source, first to last
	Reason  string    `json:"reason"`
}

// Refused lists the stored messages, oldest first.
func (n *Input) Refused() ([]Refused, error) {
	n.setUp()
	return n.Refusals.list()
}

// Replay publishes the stored messages again, in the order they came, and removes each when the
// stream has it. What is refused again is stored again.
func (n *Input) Replay(ctx context.Context) (replayed int, err error) {
	all, err := n.Refused()
	if err != nil || len(all) == 0 {
		return 0, err
	}
	js, err := jetstream.New(n.Conn)
	if err != nil {
		return 0, fmt.Errorf("use JetStream: %w", err)
	}
	for _, x := range all {
		_, data, err := readRefused(x.File)
		if err != nil {
			return replayed, err
		}
		msg := nats.NewMsg(x.Subject)
		msg.Data = data
		if _, err := js.PublishMsg(ctx, msg, jetstream.WithExpectStream(n.Stream.Name)); err != nil {
			return replayed, fmt.Errorf("publish %s to the stream %s again: %w", x.File, n.Stream.Name, err)
		}
		if err := n.Refusals.remove(x.File); err != nil {
			return replayed, err
		}
		n.Metrics.kept.Dec()
		replayed++
	}
	n.Log.Info("refused messages were published again", "stream", n.Stream.Name, "messages", replayed)
	return replayed, nil
}

// storeRefused stores a message that the log does not have and that no agent sends again, counts
// and reports it. If too much is stored already, the message is discarded, see reportDiscarded: an
// agent whose messages are refused must not stop all others. An error leaves the message in the
// stream, unacknowledged, and nothing behind it is processed: the collector's own disk fails then,
// and would fail for all of them.
func (s *streamReader) storeRefused(m *message, x *Refused) error {
	x.From, x.Seq, x.Time, x.Subject = s.n.Stream.Name, m.seq, m.time, m.subject
	file, again, err := s.n.Refusals.add(x, m.data)
	switch {
	case errors.Is(err, errFull):
		s.discarded.add(x)
		return nil
	case err != nil:
		return err
	case again:
		return nil // its acknowledgement was lost
	}
	s.n.Metrics.refused["yes"].Inc()
	s.n.Metrics.kept.Inc()
	stream, offsets := cmp.Or(x.Stream, "?"), cmp.Or(x.Offsets, "?")
	s.n.Log.Error("a batch in a stream is not in the log", "agent", x.Agent, "stream", stream, "offsets", offsets,
		"seq", m.seq, "reason", x.Reason, "file", file)
	s.n.Notice("LOST agent=%s stream=%s offsets=%s reason=%q: it is kept in %s; publish it again with: "+
		"fanin-collector refused --replay", x.Agent, stream, offsets, x.Reason, file)
	return nil
}

// discarded is the messages of a group that are neither in the log nor stored, by agent and
// stream.
type discarded struct {
	mu   sync.Mutex
	list []*discardedSeries
}

// discardedSeries is the discarded messages of one agent's stream.
type discardedSeries struct {
	first, last Refused
	messages    int
}

func (d *discarded) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = nil
}

func (d *discarded) add(x *Refused) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.list, func(o *discardedSeries) bool {
		return o.first.Agent == x.Agent && o.first.Stream == x.Stream
	})
	if i < 0 {
		i = len(d.list)
		d.list = append(d.list, &discardedSeries{first: *x})
	}
	d.list[i].last = *x
	d.list[i].messages++
}

// reportDiscarded counts and reports the discarded messages of a group before they are
// acknowledged. Each agent's stream has one line: otherwise the log would grow by more than a sender
// sends.
func (s *streamReader) reportDiscarded() {
	for _, o := range s.discarded.list {
		x := &o.first
		stream, offsets := cmp.Or(x.Stream, "?"), o.offsets()
		s.n.Metrics.refused["no"].Add(float64(o.messages))
		s.n.Log.Error("batches in a stream are neither in the log nor kept: the limit of refused messages is reached, "+
			"for this agent or in total", "agent", x.Agent, "stream", stream, "offsets", offsets,
			"messages", o.messages, "from", x.Seq, "to", o.last.Seq, "reason", x.Reason, "dir", s.n.Refusals.Dir,
			"remedy", "remove the reason and publish the kept messages again (fanin-collector refused --replay), "+
				"or move them away, or raise keep_refused")
		s.n.Notice("LOST n=%d unit=messages agent=%s stream=%s offsets=%s reason=%q from=%d to=%d: not kept: "+
			"the limit of keep_refused is reached, for this agent or in total",
			o.messages, x.Agent, stream, offsets, x.Reason, x.Seq, o.last.Seq)
	}
	s.discarded.clear()
}

// offsets is where in their source the messages are, from the first one to the last.
func (o *discardedSeries) offsets() string {
	from, _, known := strings.Cut(o.first.Offsets, "-")
	_, to, alsoKnown := strings.Cut(o.last.Offsets, "-")
	if !known || !alsoKnown {
		return "?"
	}
	return from + "-" + to
}

// unanswered reports whether no agent waits for the answer to a batch: its agent relied on the
// stream, or where the answer should go is unknown.
func unanswered(answer string) bool {
	return answer == "" || strings.HasPrefix(answer[strings.LastIndexByte(answer, '.')+1:], natsconn.Pushed)
}

// parseRefused divides a file into its description and the message.
func parseRefused(content []byte) (x Refused, data []byte, err error) {
	head, data, _ := bytes.Cut(content, []byte("\n"))
	err = json.Unmarshal(head, &x)
	return x, data, err
}
