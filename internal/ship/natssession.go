package ship

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natsconn"
	"fanin/internal/wire"
)

// natsSession is a session with a collector over NATS: from a hello that was answered until
// the collector falls silent or stops, or the server is gone. Each batch has a subject of its
// own for its answer, so that no answer is taken for another's.
type natsSession struct {
	n           *NATS
	nc          *nats.Conn
	js          jetstream.JetStream
	sub         *nats.Subscription
	log         wire.StreamID
	where       string // the token that the subjects of this session's answers begin with
	noCollector bool   // no collector answers; only with Ack "stream"
	pending[string]
	life    context.Context // ends with the session
	endLife context.CancelFunc

	heard    atomic.Int64 // when the collector was heard last, UnixNano
	count    atomic.Uint64
	hellos   atomic.Int64  // how often the hello was sent
	greeting chan greeting // the collector's answers to it
	frames   *wire.Decoder // of the subscription's goroutine
}

func (n *NATS) newSession(nc *nats.Conn) (*natsSession, error) {
	s := &natsSession{n: n, nc: nc, where: "s" + strconv.FormatUint(rand.Uint64(), 36), pending: newPending[string](),
		greeting: make(chan greeting, 16), frames: wire.NewDecoder(nil)}
	s.life, s.endLife = context.WithCancel(context.Background())
	var err error
	if s.js, err = jetstream.New(nc); err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	s.sub, err = nc.Subscribe(s.answerTo("*"), s.receive)
	if err != nil {
		return nil, fmt.Errorf("subscribe to answers: %w", err)
	}
	n.mu.Lock()
	n.latest = s
	n.mu.Unlock()
	return s, nil
}

// answerTo is the subject of an answer.
func (s *natsSession) answerTo(token string) string {
	return s.n.Subject.Answer(s.n.Hello.Agent, s.where+"."+token)
}

// close ends the session; the outcome of what waits is unknown.
func (s *natsSession) close(err error) {
	if s.end(err) {
		s.endLife()
		s.sub.Unsubscribe()
	}
}

// receive handles one message from the collector, or from the server in its place.
func (s *natsSession) receive(m *nats.Msg) {
	token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	if s.repeated(token) {
		return
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		s.close(fmt.Errorf("no collector listens on %s: is one running, with agents = %q in its [[collector.nats]]?",
			s.n.Subject.Hello(s.n.Hello.Agent), s.n.Subject))
		return
	}
	var f wire.Frame
	s.frames.Reset(bytes.NewReader(m.Data))
	if err := s.frames.Next(&f); err != nil {
		s.close(notCollector(err))
		return
	}
	s.heard.Store(time.Now().UnixNano())
	switch f.Kind {
	case wire.KindAck, wire.KindNack, wire.KindRefuse, wire.KindLater:
		s.answer(token, f.Answer)
	case wire.KindFault:
		s.close(newFault(&f))
	case wire.KindDrain:
		s.drain()
	case wire.KindPong:
	case wire.KindWelcome, wire.KindStreams:
		select {
		case s.greeting <- greeting{token, f}:
		case <-s.closed:
		case <-time.After(s.n.GreetWithin): // the greeting is over
		}
	default:
		s.close(unexpected(&f))
	}
}

// answer delivers an answer. If no batch waits for it, the agent relied on the JetStream
// stream: where the collector does not agree, the session ends, and the files are read again
// from the collector's watermark.
func (s *natsSession) answer(token string, a wire.Answer) {
	if s.deliver(token, a) || !strings.HasPrefix(token, natsconn.Pushed) {
		return
	}
	if a.Kind == wire.KindRefuse || a.Kind == wire.KindNack && !beyond(token, &a.Expected) {
		s.n.acks.setNeeded(a.Stream, true)
		// Not wrapped: other streams' batches must not take it for their own answer.
		s.close(fmt.Errorf("the collector does not have what the stream %s acknowledged: %v", s.n.Stream, a.Err()))
	}
}

// pushedToken is the token of a batch that does not wait for its answer: natsconn.Pushed, and
// where the batch ends.
func pushedToken(n uint64, b *wire.Batch) string {
	return fmt.Sprintf("%s%d-%d-%d", natsconn.Pushed, n, b.Epoch, b.End)
}

// beyond reports whether the collector's stream is at the end of the batch of that token, or
// further: then the batch was a repeat.
func beyond(token string, e *wire.Expected) bool {
	var n uint64
	var epoch uint32
	var end int64
	if _, err := fmt.Sscanf(token, natsconn.Pushed+"%d-%d-%d", &n, &epoch, &end); err != nil {
		return false
	}
	return e.Known && (e.Epoch > epoch || e.Epoch == epoch && e.Offset >= end)
}

// serve keeps both sides informed that the other one lives, until one does not.
func (s *natsSession) serve(ctx context.Context) error {
	tick := time.NewTicker(s.n.PingEvery)
	defer tick.Stop()
	for n := int64(1); ; n++ {
		select {
		case <-ctx.Done():
			s.send(wire.AppendDrain(bytes.Clone(s.n.hello))) // so that the next process gets this id at once
			s.nc.FlushTimeout(time.Second)
			s.close(ctx.Err())
			return s.err
		case <-s.closed:
			return s.err
		case <-tick.C:
		}
		switch silent := time.Since(time.Unix(0, s.heard.Load())); {
		case s.noCollector:
			if s.collectorIsBack(ctx) {
				s.close(errors.New("a collector answers again"))
			}
		case s.drained():
			s.close(errDrained)
		case silent > s.n.DeadAfter:
			s.close(fmt.Errorf("nothing came from the collector for %v", silent.Round(time.Second)))
		default:
			s.send(wire.AppendPing(bytes.Clone(s.n.hello), wire.KindPing, n))
		}
	}
}

// send sends a message that needs no outcome.
func (s *natsSession) send(message []byte) {
	s.nc.PublishRequest(s.n.Subject.Log(s.log, s.n.Hello.Agent), s.answerTo("ping"), message)
}

// collectorIsBack asks for a collector.
func (s *natsSession) collectorIsBack(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, s.n.PingEvery)
	defer cancel()
	_, err := s.nc.RequestWithContext(ctx, s.n.Subject.Who(), nil)
	return err == nil
}

// message is a batch as one message: hello, frame, text.
func (s *natsSession) message(b *wire.Batch) []byte {
	text := b.Text
	packed, encoding := s.n.encoder.pack(text)
	if packed != nil {
		defer s.n.encoder.free(packed)
		text = *packed
	}
	m := make([]byte, 0, len(s.n.hello)+len(text)+256+32*len(b.Cuts)+len(b.Identity)+len(b.Reason))
	m = append(m, s.n.hello...)
	m = wire.AppendBatch(m, b, encoding, text)
	return append(m, text...)
}

// begin waits for a slot and builds the message. It rejects what the server would not accept:
// it may be another server now, and what is read again will be smaller.
func (s *natsSession) begin(ctx context.Context, b *wire.Batch) (message []byte, release func(), err error) {
	select {
	case s.n.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	release = func() { <-s.n.slots }
	m := s.message(b)
	if limit := s.nc.MaxPayload(); int64(len(m)) > limit-512 {
		release()
		return nil, nil, fmt.Errorf("a batch of %d bytes does not fit into the server's max_payload of %d",
			len(m), limit)
	}
	return m, release, nil
}

// ask sends b to the collector and waits for its answer: a request and its reply.
func (s *natsSession) ask(ctx context.Context, b *wire.Batch) error {
	m, release, err := s.begin(ctx, b)
	if err != nil {
		return err
	}
	defer release()
	token := strconv.FormatUint(s.count.Add(1), 10)
	x, err := s.add(token)
	if err != nil {
		return err
	}
	defer s.remove(token)
	if err := s.nc.PublishRequest(s.n.Subject.Log(s.log, s.n.Hello.Agent), s.answerTo(token), m); err != nil {
		return fmt.Errorf("send to the collector: %w", err)
	}
	s.next(b) // the connection keeps the order
	return s.await(ctx, x, s.n.AnswerWithin)
}

// await waits for an answer.
func (s *natsSession) await(ctx context.Context, x *flight, timeout time.Duration) error {
	late := time.NewTimer(timeout)
	defer late.Stop()
	abandoned := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(s.n.Linger, func() { close(abandoned) }) })
	defer stop()
	return s.wait(ctx, x, abandoned, late.C)
}

// publish puts b into the JetStream stream. With Ack "stream" it returns after the stream's
// acknowledgement, unless the collector did not agree before.
func (s *natsSession) publish(ctx context.Context, b *wire.Batch) error {
	m, release, err := s.begin(ctx, b)
	if err != nil {
		return err
	}
	defer release()
	id := s.count.Add(1)
	publishOnly := s.n.Ack == "stream" && (s.noCollector || b.Op == wire.OpData && !s.n.acks.needs(b.Stream))
	if publishOnly {
		return s.publishMessage(m, id, pushedToken(id, b))
	}
	token := strconv.FormatUint(id, 10)
	x, err := s.add(token)
	if err != nil {
		return err
	}
	defer s.remove(token)
	if err := s.publishMessage(m, id, token); err != nil {
		return err
	}
	if s.n.Ack == "commit" { // what the JetStream stream acknowledges needs no chain
		s.next(b)
	}
	timeout := s.n.acks.timeout(b.Stream, s.n.AnswerWithin)
	err = s.await(ctx, x, timeout)
	s.n.acks.answered(b.Stream, timeout, !errors.Is(err, errNoAnswer))
	if err == nil {
		s.n.acks.setNeeded(b.Stream, false)
	}
	return err
}

// publishMessage publishes a message with the token of its answer, and waits for the stream's
// acknowledgement.
//
// The message id names this attempt, not the lines: a batch that was read from the stream and
// did not fit must be let in again. The collector recognises repeats by the watermark.
func (s *natsSession) publishMessage(m []byte, id uint64, token string) error {
	msg := nats.NewMsg(s.n.Subject.Batch(s.n.Hello.Agent))
	msg.Data = m
	msg.Header.Set(natsconn.HeaderAnswer, s.where+"."+token)
	ctx, cancel := context.WithTimeout(s.life, s.n.AnswerWithin)
	defer cancel()
	_, err := s.js.PublishMsg(ctx, msg, jetstream.WithMsgID(s.where+"-"+strconv.FormatUint(id, 10)),
		jetstream.WithExpectStream(s.n.Stream))
	switch {
	case err == nil:
		return nil
	case s.ending():
		return unknown(err)
	}
	return s.n.publishError(err)
}
