package nats

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/internal/lines"
	"fanin/internal/natsconn"
	"fanin/internal/wire"
)

// process keeps a group of messages, in their order, and acknowledges them. It
// returns when all are kept, or when there is no use in waiting any longer.
func (s *streamReader) process(group []message) error {
	if len(group) == 0 {
		return nil
	}
	var all sync.WaitGroup
	var plain []message
	var lost error
	chains := make(map[wire.StreamID]*chain)
	s.letGo.list = nil // of a group that failed, and is read again
	for i, m := range group {
		switch {
		case s.done.covers(m.seq, m.time):
			s.n.Metrics.repeats.Inc()
		case s.n.Agents.IsBatch(m.subject):
			if bad := s.link(chains, m); bad != nil {
				s.n.reject("protocol", "a message on an agent's subject of a stream is no batch of an agent", "stream", s.n.Stream, "seq", m.seq, "subject", m.subject, "error", bad)
				lost = cmp.Or(lost, s.lost(&group[i], &Refused{Agent: natsconn.AgentOf(m.subject), Reason: bad.Error()}))
			}
		default:
			plain = append(plain, m)
		}
	}
	for _, c := range chains {
		all.Go(func() { c.err = s.batches(c.list) }) // waited for below
	}
	err := errors.Join(lost, s.plain(plain))
	all.Wait()
	for _, c := range chains {
		err = errors.Join(err, c.err)
	}
	if err != nil {
		return err
	}
	s.sayLetGo()
	for i := range group {
		m := &group[i]
		if m.seq > s.done.seq || m.time.After(s.done.time) {
			s.done = mark{m.seq, m.time}
		}
		if m.ack != nil {
			m.ack() // when it is lost, the message comes again and is known
		}
	}
	return nil
}

// chain is the batches of one stream of an agent, in their order.
type chain struct {
	list []batchMessage
	err  error
}

type batchMessage struct {
	message
	hello  wire.Hello
	stream wire.StreamID
	epoch  uint32
	from   int64 // where it begins and ends in its source
	to     int64
	read   bool // the above is known
}

// offsets is where in its source the batch is.
func (b *batchMessage) offsets() string {
	if !b.read {
		return "?"
	}
	return fmt.Sprintf("%d-%d", b.from, b.to)
}

// kept reports whether an answer says that the log has what a batch brings.
func (b *batchMessage) kept(a *wire.Answer) bool {
	e := &a.Expected
	return a.Kind == wire.KindAck || a.Kind == wire.KindNack && e.Known && (e.Epoch > b.epoch || e.Epoch == b.epoch && e.Offset >= b.to)
}

// link puts an agent's batch behind the others of its stream.
func (s *streamReader) link(chains map[wire.StreamID]*chain, m message) error {
	agent := natsconn.AgentOf(m.subject)
	d := wire.NewDecoder(bytes.NewReader(m.data))
	var f wire.Frame
	if err := d.Next(&f); err != nil {
		return err
	}
	if bad := s.n.checkHello(&f, agent, 1); bad != nil {
		return bad
	}
	b := batchMessage{message: m, hello: f.Hello}
	var err error
	if b.stream, err = d.PeekStream(); err != nil {
		return err
	}
	id := b.stream.Owned(wire.StreamAgent, agent)
	c := chains[id]
	if c == nil {
		c = new(chain)
		chains[id] = c
	}
	c.list = append(c.list, b)
	return nil
}

// batches gives the batches of one stream to the keeper, one after the other, and
// answers each with its outcome.
func (s *streamReader) batches(list []batchMessage) error {
	for i := range list {
		b := &list[i]
		answer, err := s.batch(b)
		if err != nil {
			return err
		}
		if unheard(b.answer) && !b.kept(&answer) {
			err := s.lost(&b.message, &Refused{Agent: b.hello.Agent, Stream: b.stream.Owned(wire.StreamAgent, b.hello.Agent).String(), Offsets: b.offsets(), Reason: answer.Err().Error()})
			if err != nil {
				return err
			}
		}
		if b.answer != "" {
			s.n.Conn.Publish(s.n.Agents.Answer(b.hello.Agent, b.answer), wire.AppendAnswer(nil, answer))
		}
	}
	return nil
}

// batch gives one batch to the keeper for as long as the outcome is not known: its
// agent may be gone.
func (s *streamReader) batch(b *batchMessage) (wire.Answer, error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		f, err := s.n.open(b.data)
		if err != nil && !errors.Is(err, errNoRoom) {
			s.n.reject("protocol", "an agent's batch in a stream cannot be read", "stream", s.n.Stream, "seq", b.seq, "agent", b.hello.Agent, "error", err)
			return wire.AnswerTo(b.stream, &wire.Refused{Reason: err.Error()}), nil
		}
		if err == nil {
			b.epoch, b.from, b.to, b.read = f.Batch.Epoch, f.Batch.Offset, f.Batch.End, true
			err = s.n.offer(&f.Batch, &b.hello)
		}
		if decided(err) {
			return wire.AnswerTo(b.stream, err), nil
		}
		if err := s.stall(err, wait); err != nil {
			return wire.Answer{}, err
		}
	}
}

// open reads the frame behind the hello.
func (n *Input) open(data []byte) (f wire.Frame, err error) {
	d, err := n.newFrames(data)
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

// decided reports whether an outcome is one that no retry will change.
func decided(err error) bool {
	return err == nil || errors.Is(err, wire.ErrRefused) || errors.As(err, new(*wire.Expected))
}

// stall waits before another try, unless it is time to end: what is not kept
// stays in the stream.
func (s *streamReader) stall(err error, wait time.Duration) error {
	s.n.limited.Warn("nats_stream", "messages of a stream wait to be kept", "stream", s.n.Stream, "error", err)
	if !s.n.pause(wait) {
		return fmt.Errorf("not kept, and left in the stream: %w", err)
	}
	return nil
}

// plain keeps messages of plain lines.
func (s *streamReader) plain(messages []message) error {
	for i := range messages {
		m := &messages[i]
		s.n.Metrics.messages.Inc()
		repeat, err := s.place.admit(m)
		if err != nil {
			return err
		}
		if repeat {
			s.n.Metrics.repeats.Inc()
			continue
		}
		if err := s.addPlain(m); err != nil {
			return err
		}
	}
	return s.give()
}

// addPlain puts a message's lines on the pile, but for what a crash in its middle
// left in the log already.
func (s *streamReader) addPlain(m *message) error {
	if s.n.isOwn(m.subject) {
		return nil
	}
	text := s.n.lines(m.data)
	if text == nil {
		s.n.Metrics.empty.Inc()
		return nil
	}
	at := start(m.seq)
	for piece := range lines.Chunks(text) {
		at++
		end := at
		if text = text[len(piece):]; len(text) == 0 {
			end = start(m.seq + 1)
		}
		if at <= s.place.ahead(&s.pile) {
			continue
		}
		if !s.pile.fits(len(piece)) {
			if err := s.give(); err != nil {
				return err
			}
		}
		s.pile.add(sourceOf(m.subject), piece, end, s.place.hash(m.time))
	}
	return nil
}

// give commits the pile.
func (s *streamReader) give() error {
	defer s.pile.reset()
	for wait := 50 * time.Millisecond; !s.pile.empty(); wait = min(2*wait, 5*time.Second) {
		err := s.place.append(s.n.ctx, &s.pile)
		if decided(err) {
			s.n.plainLines.Received(s.pile.lines, len(s.pile.Text))
			return err
		}
		if err := s.stall(err, wait); err != nil {
			return err
		}
	}
	return nil
}

// place is where the plain messages of a JetStream stream stand in the log: a
// stream like any other, whose offsets are the messages' numbers. A message has
// 65,536 of them, so that a large one may be committed in pieces. In place of tail
// hashes it has the time of the latest message, in nanoseconds.
type place struct {
	n          *Input
	wire.Batch // the stream, its epoch, and in End and After where it stands
}

const piecesBits = 16

// start is the offset where message seq begins.
func start(seq uint64) int64 { return int64(seq) << piecesBits }

func newPlace(n *Input) place {
	id := sha256.Sum256([]byte("plain messages of the JetStream stream " + n.Stream))
	return place{n: n, Batch: wire.Batch{Kind: wire.StreamNATS, Stream: wire.StreamID(id[:16]), Epoch: 1, Input: "nats", Agent: "nats:" + n.Stream, Host: n.Host}}
}

// open learns from the log where the stream stands.
func (p *place) open(ctx context.Context) error {
	b := p.Batch
	b.Op, b.Source, b.Identity = wire.OpOpen, p.n.Stream, []byte(p.n.Stream)
	b.Offset, b.Before = b.End, b.After
	err := p.n.Out.Append(ctx, b)
	var expected *wire.Expected
	if errors.As(err, &expected) && expected.Known {
		p.Epoch, p.End, p.After = expected.Epoch, expected.Offset, expected.Tail
		return nil
	}
	return err
}

// admit reports whether a message was kept before. When its number was, and it is
// newer than all that was kept, the server lost the end of the stream and gave the
// number anew: then a new epoch begins.
func (p *place) admit(m *message) (repeat bool, err error) {
	if start(m.seq) >= p.End {
		return false, nil
	}
	if m.time.UnixNano() <= int64(p.After) {
		return start(m.seq+1) <= p.End, nil
	}
	p.n.Log.Warn("the NATS server gave numbers of messages anew: it lost the end of the stream; messages that nobody had read are lost with it",
		"stream", p.n.Stream, "seq", m.seq, "kept_until", p.End>>piecesBits)
	p.n.Notice("NOTE stream=%s: the NATS server lost the end of its stream and gave numbers from %d on anew; what nobody had read of it is lost", p.n.Stream, m.seq)
	b := p.Batch
	b.Op, b.Epoch, b.Source, b.Identity = wire.OpOpen, p.Epoch+1, p.n.Stream, []byte(p.n.Stream)
	b.Offset, b.End, b.Before = start(m.seq), start(m.seq), p.After
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		if err := p.n.Out.Append(p.n.ctx, b); decided(err) {
			if err == nil {
				p.Epoch, p.End = b.Epoch, b.End
			}
			return false, err
		}
		if !p.n.pause(wait) {
			return false, context.Canceled
		}
	}
}

// ahead is where the stream will stand behind the pile.
func (p *place) ahead(pile *pile) int64 {
	if pile.empty() {
		return p.End
	}
	return pile.end
}

// last is the number of the last message that is kept whole.
func (p *place) last() uint64 { return uint64(max(p.End>>piecesBits, 1)) - 1 }

// hash is what stands for the tail hash behind a message.
func (p *place) hash(at time.Time) wire.Hash { return max(p.After, wire.Hash(at.UnixNano())) }

// append commits a pile and moves on.
func (p *place) append(ctx context.Context, pile *pile) error {
	b := p.Batch
	b.Offset, b.Before = p.End, p.After
	b.End, b.After = pile.end, max(pile.after, p.After)
	b.Time, b.Cuts, b.Marks, b.Text = time.Now().UnixMicro(), pile.Cuts, pile.Marks, pile.Text
	err := p.n.Out.Append(ctx, b)
	if err == nil {
		p.End, p.After = b.End, b.After
	}
	return err
}

// isOwn reports, and counts, that a message's subject is fanin's own, or the
// server's: it is no text of anybody's.
func (n *Input) isOwn(subject string) bool {
	for _, prefix := range []string{string(n.Agents), "_INBOX", "$JS", "$SYS"} {
		if prefix != "" && strings.HasPrefix(subject, prefix+".") {
			n.reject("subject", "a message on a subject of fanin's own, or the server's, is not taken as text", "subject", subject)
			return true
		}
	}
	return false
}

// answerHeader is where an agent wants its answer, below its own subject; "" when
// it says nothing that can be a part of one.
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
