package nats

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// streamReader takes the messages of a JetStream stream, each exactly once and in
// the stream's order, and acknowledges them when they are committed.
//
// The consumer is trusted with what is new, and with nothing else. Each delivery
// has a number of its own, one more than the delivery before: when one is missing
// (this process or another was killed, a connection broke), the messages between
// the consumer's ack floor and its last delivery are read from the stream by
// their numbers before anything newer is taken. So the order holds, and what is
// delivered again later is known by its number.
type streamReader struct {
	n        *Input
	js       jetstream.JetStream
	stream   jetstream.Stream
	consumer jetstream.Consumer
	behind   int // how often the stream was found to be behind its consumer
	filters  []string
	place    place  // where the plain lines stand in the log
	pile     pile   // of plain lines
	letGo    letGo  // of the group that is processed
	next     uint64 // the number of the delivery to come
	gaps     int    // in the numbers of deliveries, in this session
	seen     uint64 // the latest message that was delivered to anybody
	whole    bool   // the consumer wants every message of the stream
	done     mark   // all messages up to this one are done with
}

// mark is a message: its number, and when the stream took it. After a server lost
// the end of a stream, other messages have the numbers again, but not the times.
type mark struct {
	seq  uint64
	time time.Time
}

// covers reports whether a message was before the mark.
func (m *mark) covers(seq uint64, at time.Time) bool { return seq <= m.seq && !at.After(m.time) }

// message is one message of the stream, however it was read.
type message struct {
	subject, answer string
	data            []byte
	seq             uint64
	time            time.Time
	delivery        uint64
	ack             func() error // nil: it was read by number
}

// Bounds of what is in memory at once: a group, and as much read ahead.
const (
	groupMessages = 256
	groupBytes    = 4 << 20
	mostUnacked   = 4096
)

// A fetch asks for so many messages that they come to about fetchedBytes, going by
// the largest of the fetch before. It must not ask for a bound in bytes: a replicated
// consumer says that the bound is reached before it sends what was within, and the
// library listens no more then.
const (
	fetchedBytes = 8 << 20
	leastFetched = 4
)

func newStreamReader(n *Input) *streamReader { return &streamReader{n: n, place: newPlace(n)} }

// run takes messages until the listener drains.
func (s *streamReader) run() {
	part := "stream " + s.n.Stream
	for s.n.connected() {
		err := s.session(func() {
			s.n.setTrouble(part, nil)
			s.n.Forbidden(nil)
		})
		switch {
		case s.n.isDraining():
			return
		case errors.Is(err, nats.ErrDisconnected): // said by who connects
			s.n.notYet(part)
		default:
			s.n.setTrouble(part, err)
			s.n.pause(time.Second)
		}
	}
}

// session takes messages until something goes wrong.
func (s *streamReader) session(begun func()) error {
	ctx, cancel := context.WithCancelCause(s.n.ctx)
	defer cancel(nil)
	lost := s.n.Conn.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	defer s.n.Conn.RemoveStatusListener(lost)
	go func() { // ends with the session
		select {
		case <-s.n.taking.Done():
			cancel(nil)
		case <-lost: // a request that the server has forgotten would be waited for
			cancel(nats.ErrDisconnected)
		case <-ctx.Done():
		}
	}()
	err := s.take(ctx, begun)
	return cmp.Or(disconnected(ctx), err)
}

// disconnected is nats.ErrDisconnected, if that ended ctx.
func disconnected(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), nats.ErrDisconnected) {
		return nats.ErrDisconnected
	}
	return nil
}

// take takes messages until ctx ends, or something goes wrong.
func (s *streamReader) take(ctx context.Context, begun func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := cmp.Or(s.n.mine(), ctx.Err()); err != nil {
		return err
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	if err := s.place.open(s.n.ctx); err != nil {
		return err
	}
	if err := s.reread(ctx); err != nil {
		return err
	}
	s.gaps = 0
	begun()
	messages := make(chan message, 64)
	failed := make(chan error, 1)
	go func() { failed <- s.pump(ctx, messages); close(messages) }() // ends with the session
	for m := range messages {
		group := s.gather(m, messages)
		if err := s.n.mine(); err != nil {
			return err
		}
		if err := s.check(ctx, group); err != nil {
			return err
		}
		if err := s.process(group); err != nil {
			return err
		}
	}
	return <-failed
}

// pump fetches messages and gives them on as they come.
func (s *streamReader) pump(ctx context.Context, out chan<- message) error {
	want := leastFetched
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, 20*time.Second)
		batch, err := s.consumer.Fetch(want, jetstream.FetchContext(within), jetstream.FetchHeartbeat(3*time.Second))
		if err != nil {
			cancel()
			return s.cannotFetch(err)
		}
		largest := 1
		for m := range batch.Messages() {
			largest = max(largest, len(m.Data()))
			x, err := newMessage(m)
			if err != nil {
				cancel()
				return err
			}
			select {
			case out <- x:
			case <-ctx.Done():
			}
		}
		cancel()
		if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return s.cannotFetch(err)
		}
		want = min(max(fetchedBytes/largest, leastFetched), 2*want, groupMessages)
	}
	return ctx.Err()
}

func (s *streamReader) cannotFetch(err error) error {
	return fmt.Errorf("fetch messages with the consumer %s of the stream %s: %w", s.n.Durable, s.n.Stream, err)
}

func newMessage(m jetstream.Msg) (message, error) {
	d, err := m.Metadata()
	if err != nil {
		return message{}, fmt.Errorf("read a delivery's numbers: %w", err)
	}
	return message{subject: m.Subject(), answer: answerHeader(m.Headers()), data: m.Data(), seq: d.Sequence.Stream,
		time: d.Timestamp, delivery: d.Sequence.Consumer, ack: m.Ack}, nil
}

// gather is m and what waits behind it, up to a full group.
func (s *streamReader) gather(m message, messages <-chan message) []message {
	group, size := []message{m}, len(m.data)
	for len(group) < groupMessages && size < groupBytes {
		select {
		case m, ok := <-messages:
			if !ok {
				return group
			}
			group, size = append(group, m), size+len(m.data)
		default:
			return group
		}
	}
	return group
}

// check sees to it that no delivery is missing before the last one of the group.
func (s *streamReader) check(ctx context.Context, group []message) error {
	for i := range group {
		switch m := &group[i]; {
		case m.delivery < s.next: // made before the last reread, which found it
		case m.delivery == s.next:
			s.next++
			s.passed(m.seq)
		default:
			if s.gaps++; s.gaps >= fewGaps {
				s.n.limited.Warn("nats_shared", "somebody else takes messages of this consumer, too; what both read comes to both logs: give each collector a durable of its own",
					"stream", s.n.Stream, "durable", s.n.Durable)
			}
			return s.reread(ctx)
		}
	}
	return nil
}

// fewGaps in one session have other reasons: a process that died, a delivery that came
// too late for its fetch.
const fewGaps = 3

// passed notices messages that were gone before they were delivered: the stream let
// them grow too old, or somebody removed them. Where a consumer has filters, nobody
// can tell them from those it does not want. The count goes by the server's numbers: one
// that was killed may have forgotten what it delivered, and what was delivered to a
// process that died, and then grew too old, does not show.
func (s *streamReader) passed(seq uint64) {
	last := max(s.seen, s.done.seq, s.place.last())
	s.seen = max(s.seen, seq)
	if first := s.next == 2; first || !s.whole || seq <= last+1 {
		return
	}
	missed := seq - last - 1
	s.n.Metrics.missed.Add(float64(missed))
	s.n.Log.Error("messages left the stream before they could be taken", "stream", s.n.Stream, "messages", missed, "from", last+1, "to", seq-1,
		"remedy", "give the stream a longer max_age, or none")
	s.n.Notice("LOST n=%d unit=messages reason=nats-expired stream=%s from=%d to=%d: they grew too old there, or somebody removed them; going by the numbers the server gave", missed, s.n.Stream, last+1, seq-1)
}

// reread reads by number what was delivered and is not acknowledged: nobody knows
// who has it. Messages that are gone were acknowledged, or are counted as lost.
func (s *streamReader) reread(ctx context.Context) error {
	info, err := s.consumer.Info(ctx)
	if err != nil {
		return fmt.Errorf("ask how far the consumer %s is: %w", s.n.Durable, err)
	}
	s.next, s.seen = info.Delivered.Consumer+1, info.Delivered.Stream
	if info.NumAckPending == 0 {
		return nil
	}
	var group []message
	size := 0
	for seq := info.AckFloor.Stream + 1; seq <= info.Delivered.Stream; seq++ {
		m, err := s.read(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			if err := s.reaches(ctx, info.Delivered.Stream); err != nil {
				return err
			}
			break
		}
		if err != nil {
			return err
		}
		if seq = m.seq; seq > info.Delivered.Stream {
			break
		}
		if !s.ours(m.subject) {
			continue
		}
		s.n.Metrics.reread.Inc()
		group, size = append(group, m), size+len(m.data)
		if len(group) >= groupMessages || size >= groupBytes {
			if err := s.process(group); err != nil {
				return err
			}
			group, size = nil, 0
		}
	}
	return s.process(group)
}

// reaches makes sure that who said that there are no more messages knows the stream
// up to last: a server that was just made its leader may not.
func (s *streamReader) reaches(ctx context.Context, last uint64) error {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("ask how long the stream %s is: %w", s.n.Stream, err)
	}
	if s.behind++; info.State.LastSeq < last && s.behind < 5 {
		return fmt.Errorf("the stream %s ends at %d, and its consumer was given %d: asking again", s.n.Stream, info.State.LastSeq, last)
	}
	s.behind = 0 // it lost its end, see place.admit
	return nil
}

// read reads the first message from seq on, from the stream's leader: a follower
// may not have it yet.
func (s *streamReader) read(ctx context.Context, seq uint64) (message, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := json.Marshal(map[string]any{"seq": seq, "next_by_subj": ">"})
	if err != nil {
		return message{}, err
	}
	reply, err := s.n.Conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+s.n.Stream, request)
	if err != nil {
		return message{}, fmt.Errorf("read message %d of the stream %s: %w", seq, s.n.Stream, err)
	}
	var r struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &r); err != nil {
		return message{}, fmt.Errorf("read message %d of the stream %s: %w", seq, s.n.Stream, err)
	}
	if r.Error != nil {
		if r.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return message{}, jetstream.ErrMsgNotFound
		}
		return message{}, fmt.Errorf("read message %d of the stream %s: %w", seq, s.n.Stream, r.Error)
	}
	var header nats.Header
	if len(r.Message.Header) > 0 {
		if header, err = nats.DecodeHeadersMsg(r.Message.Header); err != nil {
			header = nil // foreign bytes: then nobody waits for an answer
		}
	}
	return message{subject: r.Message.Subject, answer: answerHeader(header), data: r.Message.Data, seq: r.Message.Seq, time: r.Message.Time}, nil
}

// ours reports whether a subject is among those to be taken.
func (s *streamReader) ours(subject string) bool {
	for _, f := range s.filters {
		if matches(f, subject) {
			return true
		}
	}
	return false
}

// matches reports whether a subject is one of a pattern's: * is any token, > all
// that follow.
func matches(pattern, subject string) bool {
	for {
		p, morePattern, pDot := strings.Cut(pattern, ".")
		t, moreSubject, tDot := strings.Cut(subject, ".")
		switch {
		case p == ">" && !pDot:
			return true
		case p != "*" && p != t, pDot != tDot:
			return false
		case !pDot:
			return true
		}
		pattern, subject = morePattern, moreSubject
	}
}
