package ship

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natsconn"
	"fanin/internal/retry"
	"fanin/internal/wire"
)

// NATS is an Appender over a NATS server. Its nil means that the collector committed the
// batch, unless Ack is "stream". Set the fields, Run it, Append to it. Zero fields take the
// defaults named.
type NATS struct {
	Login     natsconn.Login      // where the server is, and how to log in; required
	Subject   natsconn.Subjects   // where the collector is met; default "fanin"
	Stream    string              // the JetStream stream that batches go through; "": the collector is asked directly
	Ack       string              // "commit" (default), or "stream": nil when the JetStream stream has the batch
	Hello     wire.Hello          // the agent; Version is filled in
	OnWelcome OnWelcome           // may be nil
	Explain   func(error) error   // adds what an error of TLS means, and what to do; nil: it stays as it is
	Connected func(*nats.Conn)    // called once, with the connection that Run keeps; the server may be absent then
	Known     func() wire.Welcome // Ack "stream": what was known of the log last, while no collector answers
	Compress  string              // "auto" (default) and "zstd": zstd; "none"
	Log       *slog.Logger        // nil: discard
	Timing

	connState[*natsSession]
	latest     *natsSession // guarded by mu: the latest session, welcomed or not
	encoder    *encoder
	hello      []byte        // the frame that begins each message
	slots      chan struct{} // one for each batch in flight
	acks       commitAcks
	outage     atomic.Bool // the outage was logged
	unanswered sync.Once   // that the agent cannot answer requests was logged
}

var _ wire.Appender = (*NATS)(nil)

// maxInFlight is how many batches an agent has in flight.
const maxInFlight = 16 * wire.MaxChain

func (n *NATS) defaults() {
	n.setDefaults(5 * time.Second)
	n.Subject = cmp.Or(n.Subject, "fanin")
	n.Ack = cmp.Or(n.Ack, "commit")
	if n.Log == nil {
		n.Log = slog.New(slog.DiscardHandler)
	}
	n.Hello.Version = wire.Version
	n.hello = wire.AppendHello(nil, n.Hello)
	n.slots = make(chan struct{}, maxInFlight)
	n.encoder = newEncoder(n.Compress, false) // the link to the server is not measured
}

// Run keeps a session with a collector until ctx ends.
func (n *NATS) Run(ctx context.Context) error {
	n.defaults()
	nc, err := n.dial()
	if err != nil {
		return err
	}
	defer nc.Close()
	if n.Connected != nil {
		n.Connected(nc)
	}
	backoff := n.backoff()
	for natsconn.WaitConnected(ctx, nc, n.unreachable) == nil {
		welcomed, err := n.connect(ctx, nc)
		if ctx.Err() != nil {
			break
		}
		if welcomed && !errors.As(err, new(*natsconn.ForbiddenError)) {
			backoff.Reset()
		}
		var f *fault
		if errors.As(err, &f) {
			backoff.AtLeast(f.wait)
		}
		pause := backoff.Next()
		n.lost(n.Log, n.Login.URL, err, pause)
		retry.Pause(ctx, pause)
	}
	return ctx.Err()
}

// dial makes the connection that lives as long as Run.
func (n *NATS) dial() (*nats.Conn, error) {
	d := natsconn.Dialer{
		Login: n.Login, Name: "fanin-agent " + n.Hello.Agent, InboxPrefix: n.Subject.Answer(n.Hello.Agent, "inbox"),
		Timeout: n.GreetWithin, PingEvery: n.PingEvery,
		Up: func(*nats.Conn, bool) { n.outage.Store(false) },
		Lost: func(_ *nats.Conn, err error) {
			n.interrupt(fmt.Errorf("the connection to the NATS server was lost: %w", err))
		},
		Failed:    n.unreachable,
		Forbidden: n.forbidden,
	}
	return d.Dial()
}

// unreachable reports a failed attempt to connect. An outage is logged once, whatever the
// reasons are: each server of a cluster has its own.
func (n *NATS) unreachable(_ *nats.Conn, err error) {
	if n.Explain != nil {
		err = n.Explain(err)
	}
	if n.outage.CompareAndSwap(false, true) {
		n.lost(n.Log, n.Login.URL, err, 0)
		return
	}
	n.note(n.Login.URL, err)
}

// forbidden handles a permission that the server denies. That the agent cannot answer
// requests keeps no lines.
func (n *NATS) forbidden(f *natsconn.ForbiddenError) {
	if f.Publish || strings.HasPrefix(f.Subject, n.Subject.Answers()) {
		n.interrupt(f)
		return
	}
	n.unanswered.Do(func() {
		n.Log.Info("this agent cannot answer requests over NATS: the server forbids it; lines are not affected",
			"subject", f.Subject)
	})
}

// interrupt ends the latest session.
func (n *NATS) interrupt(err error) {
	n.mu.Lock()
	s := n.latest
	n.mu.Unlock()
	if s != nil {
		s.close(err)
	}
}

// connect has one session with a collector. With Ack "stream", the session may be without
// one.
func (n *NATS) connect(ctx context.Context, nc *nats.Conn) (welcomed bool, err error) {
	s, err := n.newSession(nc)
	if err != nil {
		return false, err
	}
	defer func() { s.close(nil) }()
	w, err := s.greet(ctx)
	switch {
	case err == nil:
		n.Log.Info("connected", "server", nc.ConnectedUrlRedacted(), "log", w.Log, "streams", len(w.Streams),
			"max_payload", nc.MaxPayload())
	case n.Ack != "stream", ctx.Err() != nil, errors.As(err, new(*fault)):
		return false, err
	default:
		n.lost(n.Log, n.Login.URL,
			fmt.Errorf("no collector answers; lines count as sent when the stream %s has them: %w", n.Stream, err), 0)
		s.close(err)
		alone, err := n.newSession(nc)
		if err != nil {
			return false, err
		}
		s, w, alone.noCollector = alone, n.Known(), true
	}
	maxText := n.maxText(nc)
	if maxText < 2<<10 {
		return false, fmt.Errorf("the server's max_payload is %d bytes: fanin needs at least 4096", nc.MaxPayload())
	}
	s.log = w.Log
	if n.OnWelcome != nil {
		n.OnWelcome(w, maxText)
	}
	n.use(s)
	defer n.use(nil)
	return true, s.serve(ctx)
}

// maxText is how much text fits into a message beside the frames' heads and cuts.
func (n *NATS) maxText(nc *nats.Conn) int {
	payload := int(nc.MaxPayload())
	return min(payload-payload/32-len(n.hello)-1<<10, wire.MaxText)
}

// Append sends b and waits for the collector's answer, or for a session first.
func (n *NATS) Append(ctx context.Context, b wire.Batch) error {
	if err := checkBatch(ctx, &b); err != nil {
		return err
	}
	s, err := n.current(ctx)
	if err != nil {
		return err
	}
	if n.Stream == "" {
		return s.ask(ctx, &b)
	}
	return s.publish(ctx, &b)
}

// publishError explains the most frequent causes.
func (n *NATS) publishError(err error) error {
	var api *jetstream.APIError
	switch {
	case natsconn.NoStream(err):
		return fmt.Errorf("no stream takes %s: is JetStream enabled, and does the stream %s have the subject %s? %w",
			n.Subject.Batch(n.Hello.Agent), n.Stream, n.Subject.AllBatches(), err)
	case errors.As(err, &api) && strings.Contains(api.Description, "maximum"):
		return fmt.Errorf("the stream %s is full, and its lines wait in their files: %w", n.Stream, err)
	}
	return fmt.Errorf("publish to the stream %s: %w", n.Stream, err)
}

// commitAcks is what is known of the collector's answers to batches that go through a
// JetStream stream, by the agent's stream.
type commitAcks struct {
	mu       sync.Mutex
	needed   map[wire.StreamID]bool
	timeouts map[wire.StreamID]time.Duration // of the next answer
}

// maxAnswerTimeout bounds the wait for an answer through a JetStream stream.
const maxAnswerTimeout = 5 * time.Minute

// needs reports whether a batch of the stream needs the collector's answer even where the
// JetStream stream's acknowledgement would do: the latest answer was that a batch does not
// fit, or is refused.
func (a *commitAcks) needs(id wire.StreamID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.needed[id]
}

func (a *commitAcks) setNeeded(id wire.StreamID, needed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !needed {
		delete(a.needed, id)
		return
	}
	if a.needed == nil {
		a.needed = make(map[wire.StreamID]bool)
	}
	a.needed[id] = true
}

// timeout is how long to wait for the next answer of the stream, at least least: other
// batches may be before it in the JetStream stream, and each repetition makes that worse.
func (a *commitAcks) timeout(id wire.StreamID, least time.Duration) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return max(a.timeouts[id], least)
}

// answered stores whether an answer came within the time waited. If not, the next wait is
// twice as long.
func (a *commitAcks) answered(id wire.StreamID, waited time.Duration, did bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if did {
		delete(a.timeouts, id)
		return
	}
	if a.timeouts == nil {
		a.timeouts = make(map[wire.StreamID]time.Duration)
	}
	a.timeouts[id] = min(2*waited, maxAnswerTimeout)
}
