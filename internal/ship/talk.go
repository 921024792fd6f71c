package ship

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natsconn"
	"fanin/internal/wire"
)

// talk is a session with a collector over NATS: from a hello that was answered
// until it falls silent, says so, or the server is gone. Each question has an
// address of its own for the answer, so that none is taken for another's.
type talk struct {
	n     *NATS
	nc    *nats.Conn
	js    jetstream.JetStream
	sub   *nats.Subscription
	log   wire.StreamID
	where string       // the tokens that this session's answers begin with
	alone bool         // no collector answers; only with Ack "stream"
	heard atomic.Int64 // when the collector's last word came, UnixNano
	count atomic.Uint64
	words chan wire.Frame // what the collector says to the greeting

	mu       sync.Mutex
	waiting  map[string]chan wire.Answer
	draining bool
	err      error
	closed   chan struct{}
	life     context.Context // ends when closed is closed
	end      context.CancelFunc

	frames *wire.Decoder // of the subscription's goroutine
}

func (n *NATS) talk(nc *nats.Conn) (*talk, error) {
	s := &talk{n: n, nc: nc, where: "s" + strconv.FormatUint(rand.Uint64(), 36), waiting: make(map[string]chan wire.Answer),
		closed: make(chan struct{}), words: make(chan wire.Frame, 16), frames: wire.NewDecoder(nil)}
	s.life, s.end = context.WithCancel(context.Background())
	var err error
	if s.js, err = jetstream.New(nc); err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	s.sub, err = nc.Subscribe(s.answerTo("*"), s.hear)
	if err != nil {
		return nil, fmt.Errorf("listen for answers: %w", err)
	}
	n.mu.Lock()
	n.talking = s
	n.mu.Unlock()
	return s, nil
}

func (s *talk) answerTo(token string) string {
	return s.n.Subject.Answer(s.n.Hello.Agent, s.where+"."+token)
}

// close ends the session; whoever waits in it learns that the outcome is unknown.
func (s *talk) close(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return
	default:
	}
	if err == nil {
		err = errors.New("the session ended")
	}
	s.err = err
	close(s.closed)
	s.end()
	s.sub.Unsubscribe()
}

func (s *talk) ending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining || s.err != nil
}

// greetToken is where the welcome goes, and later the collector's own words.
const greetToken = "hello"

// greet says hello and reads the welcome and its streams, one frame a message.
func (s *talk) greet(ctx context.Context) (w wire.Welcome, err error) {
	if err := s.nc.PublishRequest(s.n.Subject.Hello(s.n.Hello.Agent), s.answerTo(greetToken), s.n.hello); err != nil {
		return w, fmt.Errorf("say hello: %w", err)
	}
	silence := time.NewTimer(s.n.GreetWithin)
	defer silence.Stop()
	in := newWelcome()
	for in.left > 0 {
		var f wire.Frame
		select {
		case f = <-s.words:
		case <-s.closed:
			return w, s.err
		case <-ctx.Done():
			return w, ctx.Err()
		case <-silence.C:
			return w, fmt.Errorf("no welcome within %v from a collector that takes agents = %q", s.n.GreetWithin, s.n.Subject)
		}
		if err := in.take(&f); err != nil {
			return w, err
		}
		silence.Reset(s.n.GreetWithin)
	}
	in.report(s.n.Log)
	s.heard.Store(time.Now().UnixNano())
	return in.Welcome, nil
}

// hear takes one message from the collector, or from the server for it.
func (s *talk) hear(m *nats.Msg) {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		s.close(fmt.Errorf("no collector listens on %s: is one running, with agents = %q in its [[collector.nats]]?", s.n.Subject.Hello(s.n.Hello.Agent), s.n.Subject))
		return
	}
	var f wire.Frame
	s.frames.Reset(bytes.NewReader(m.Data))
	if err := s.frames.Next(&f); err != nil {
		s.close(fmt.Errorf("what answers there is no fanin-collector: %w", err))
		return
	}
	s.heard.Store(time.Now().UnixNano())
	token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	switch f.Kind {
	case wire.KindAck, wire.KindNack, wire.KindRefuse, wire.KindLater:
		s.answer(token, f.Answer)
	case wire.KindFault:
		s.close(newFault(&f))
	case wire.KindDrain:
		s.mu.Lock()
		s.draining = true
		s.mu.Unlock()
	case wire.KindPong:
	case wire.KindWelcome, wire.KindStreams:
		select {
		case s.words <- f:
		case <-s.closed:
		case <-time.After(s.n.GreetWithin): // nobody greets any more
		}
	default:
		s.close(fmt.Errorf("%w: the collector sent a frame of kind %d", wire.ErrProtocol, f.Kind))
	}
}

// answer gives an answer to who waits for it. When nobody does, the NATS stream
// had been believed: if the collector does not agree, the files are asked again.
func (s *talk) answer(token string, a wire.Answer) {
	s.mu.Lock()
	c := s.waiting[token]
	delete(s.waiting, token)
	s.mu.Unlock()
	switch {
	case c != nil:
		c <- a
	case !strings.HasPrefix(token, natsconn.Pushed):
	case a.Kind == wire.KindRefuse, a.Kind == wire.KindNack && !beyond(token, &a.Expected):
		s.n.beCareful(a.Stream, true)
		// Not wrapped: other streams' batches must not take it for their own answer.
		s.close(fmt.Errorf("the collector has not what the stream %s was given: %v", s.n.Stream, a.Err()))
	}
}

// pushedToken is the token of a batch whose answer is not waited for: natsconn.Pushed, and the place
// where the batch ends.
func pushedToken(n uint64, b *wire.Batch) string {
	return fmt.Sprintf("%s%d-%d-%d", natsconn.Pushed, n, b.Epoch, b.End)
}

// beyond reports whether a stream stands at the end of the batch of that token,
// or further: then it was a repeat.
func beyond(token string, e *wire.Expected) bool {
	var n uint64
	var epoch uint32
	var end int64
	if _, err := fmt.Sscanf(token, natsconn.Pushed+"%d-%d-%d", &n, &epoch, &end); err != nil {
		return false
	}
	return e.Known && (e.Epoch > epoch || e.Epoch == epoch && e.Offset >= end)
}

// serve keeps both sides knowing that the other one lives, until one does not.
func (s *talk) serve(ctx context.Context) error {
	tick := time.NewTicker(s.n.PingEvery)
	defer tick.Stop()
	for n := int64(1); ; n++ {
		select {
		case <-ctx.Done():
			s.say(wire.AppendDrain(bytes.Clone(s.n.hello))) // so that another may come with this id at once
			s.nc.FlushTimeout(time.Second)
			s.close(ctx.Err())
			return s.err
		case <-s.closed:
			return s.err
		case <-tick.C:
		}
		s.mu.Lock()
		drained := s.draining && len(s.waiting) == 0
		s.mu.Unlock()
		switch silent := time.Since(time.Unix(0, s.heard.Load())); {
		case s.alone:
			if s.collectorIsBack(ctx) {
				s.close(errors.New("a collector answers again"))
			}
		case drained:
			s.close(errDrained)
		case silent > s.n.DeadAfter:
			s.close(fmt.Errorf("nothing came from the collector for %v", silent.Round(time.Second)))
		default:
			s.say(wire.AppendPing(bytes.Clone(s.n.hello), wire.KindPing, n))
		}
	}
}

// say sends what needs no outcome.
func (s *talk) say(message []byte) {
	s.nc.PublishRequest(s.n.Subject.Log(s.log, s.n.Hello.Agent), s.answerTo("ping"), message)
}

// collectorIsBack asks whether there is a collector by now.
func (s *talk) collectorIsBack(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, s.n.PingEvery)
	defer cancel()
	_, err := s.nc.RequestWithContext(ctx, s.n.Subject.Who(), nil)
	return err == nil
}

// message is a batch as one message: hello, frame, text.
func (s *talk) message(b *wire.Batch) []byte {
	text, encoding := b.Text, uint8(0)
	if packed := s.n.squeeze.pack(text); packed != nil {
		defer s.n.squeeze.free(packed)
		text, encoding = *packed, 1
	}
	m := make([]byte, 0, len(s.n.hello)+len(text)+256+32*len(b.Cuts)+len(b.Identity)+len(b.Reason))
	m = append(m, s.n.hello...)
	m = wire.AppendBatch(m, b, encoding, text)
	return append(m, text...)
}

// fits refuses what the server would not take: it may be another server now, and
// what is read anew will be smaller.
func (s *talk) fits(message []byte) error {
	if most := s.nc.MaxPayload(); int64(len(message)) > most-512 {
		return fmt.Errorf("a batch of %d bytes does not fit into the server's max_payload of %d", len(message), most)
	}
	return nil
}

// expect makes room for the answer to one question.
func (s *talk) expect(token string) (chan wire.Answer, error) {
	c := make(chan wire.Answer, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return nil, errDrained
	}
	s.waiting[token] = c
	return c, nil
}

func (s *talk) forget(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, token)
}

// slot waits for this batch's turn.
func (s *talk) slot(ctx context.Context) (release func(), err error) {
	select {
	case s.n.slots <- struct{}{}:
		return func() { <-s.n.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask sends b to the collector and waits for its answer: a request and its reply.
func (s *talk) ask(ctx context.Context, b *wire.Batch) error {
	release, err := s.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	m := s.message(b)
	if err := s.fits(m); err != nil {
		return err
	}
	token := strconv.FormatUint(s.count.Add(1), 10)
	c, err := s.expect(token)
	if err != nil {
		return err
	}
	defer s.forget(token)
	if err := s.nc.PublishRequest(s.n.Subject.Log(s.log, s.n.Hello.Agent), s.answerTo(token), m); err != nil {
		return fmt.Errorf("send to the collector: %w", err)
	}
	return s.wait(ctx, c, s.n.AnswerWithin)
}

// wait waits for an answer.
func (s *talk) wait(ctx context.Context, c chan wire.Answer, patience time.Duration) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	given := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(s.n.Linger, func() { close(given) }) })
	defer stop()
	select {
	case a := <-c:
		return a.Err()
	case <-s.closed:
		select {
		case a := <-c: // it came before the end
			return a.Err()
		default:
		}
		return fmt.Errorf("not known whether the batch was kept: %w", s.err)
	case <-given:
		return fmt.Errorf("given up; not known whether the batch was kept: %w", ctx.Err())
	case <-late.C:
		return fmt.Errorf("not known whether the batch was kept: %w", errNoAnswer)
	}
}

var errNoAnswer = errors.New("no answer came in time; it will be sent again")

// push gives b to the JetStream stream. Who is content with the stream's word
// does not wait for the collector's, unless that did not agree before.
func (s *talk) push(ctx context.Context, b *wire.Batch) error {
	release, err := s.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	m := s.message(b)
	if err := s.fits(m); err != nil {
		return err
	}
	id := s.count.Add(1)
	content := s.n.Ack == "stream" && (s.alone || b.Op == wire.OpData && !s.n.isCareful(b.Stream))
	token := strconv.FormatUint(id, 10)
	var c chan wire.Answer
	if content {
		token = pushedToken(id, b)
	} else {
		if c, err = s.expect(token); err != nil {
			return err
		}
		defer s.forget(token)
	}
	msg := nats.NewMsg(s.n.Subject.Batch(s.n.Hello.Agent))
	msg.Data = m
	msg.Header.Set(natsconn.HeaderAnswer, s.where+"."+token)
	within, cancel := context.WithTimeout(s.life, s.n.AnswerWithin)
	defer cancel()
	// The id names this attempt, not the lines: what was taken from the stream and
	// did not fit must be let in again. The collector tells repeats by the watermark.
	_, err = s.js.PublishMsg(within, msg, jetstream.WithMsgID(s.where+"-"+strconv.FormatUint(id, 10)), jetstream.WithExpectStream(s.n.Stream))
	if err != nil && s.ending() {
		return fmt.Errorf("not known whether the batch was kept: %w", err)
	}
	if err != nil {
		return s.n.jetStreamError(err)
	}
	if content {
		return nil
	}
	patience := s.n.patient(b.Stream)
	err = s.wait(ctx, c, patience)
	s.n.answered(b.Stream, patience, !errors.Is(err, errNoAnswer))
	if err == nil {
		s.n.beCareful(b.Stream, false)
	}
	return err
}
