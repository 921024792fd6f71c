package ship

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natsconn"
	"fanin/internal/wire"
)

// NATS is an Appender over a NATS server. Its nil means that the collector
// committed the batch, unless Ack is "stream". Set the fields, Run it, Append to
// it. Zero fields take the defaults named.
type NATS struct {
	Login     natsconn.Login      // where the server is, and how to log in; required
	Subject   natsconn.Subjects   // where the collector is met; default "fanin"
	Stream    string              // the JetStream stream that batches go through; default: none, the collector is asked directly
	Ack       string              // "commit" (default), or "stream": nil when the stream has the batch, whether or not a collector runs
	Hello     wire.Hello          // who this is; Version is filled in
	OnWelcome func(wire.Welcome)  // called for each session, before anything is sent in it
	Explain   func(error) error   // says what an error of TLS means, and what to do; nil: it stays as it is
	Connected func(*nats.Conn)    // called once, with the connection that Run keeps; the server may be absent then
	Known     func() wire.Welcome // Ack "stream": what was known of the log last, for as long as no collector answers
	Compress  string              // "auto" (default) and "zstd": zstd; "none"
	Log       *slog.Logger        // default: discard

	PingEvery    time.Duration // default 5 s
	DeadAfter    time.Duration // without a word from the collector; default 15 s
	GreetWithin  time.Duration // for the welcome; default 5 s
	AnswerWithin time.Duration // for the answer to a batch; then it is sent again. Through a stream more each time, up to 5 minutes; default 15 s
	Linger       time.Duration // for the answer to a batch on its way whose context ended; default none
	MinBackoff   time.Duration // between sessions; default 200 ms
	MaxBackoff   time.Duration // default 10 s

	link[*talk]
	squeeze  *squeezer
	hello    []byte        // the frame that begins each message
	slots    chan struct{} // one for each batch on its way
	away     atomic.Bool   // the outage was said
	talking  *talk         // guarded by mu: the latest session, welcomed or not
	unserved sync.Once
	careful  careful
}

var _ wire.Appender = (*NATS)(nil)

// mostFlying is how many batches of an agent are on their way at once.
const mostFlying = 16

func (n *NATS) defaults() error {
	set := func(d *time.Duration, v time.Duration) { *d = cmp.Or(*d, v) }
	set(&n.PingEvery, 5*time.Second)
	set(&n.DeadAfter, 15*time.Second)
	set(&n.GreetWithin, 5*time.Second)
	set(&n.AnswerWithin, 15*time.Second)
	set(&n.MinBackoff, 200*time.Millisecond)
	set(&n.MaxBackoff, 10*time.Second)
	n.Subject = cmp.Or(n.Subject, "fanin")
	n.Ack = cmp.Or(n.Ack, "commit")
	if n.Log == nil {
		n.Log = slog.New(slog.DiscardHandler)
	}
	n.Hello.Version = wire.Version
	n.hello = wire.AppendHello(nil, n.Hello)
	n.slots = make(chan struct{}, mostFlying)
	if n.Compress == "none" {
		return nil
	}
	var err error
	n.squeeze, err = newSqueezer()
	return err
}

// Run keeps a session with a collector until ctx ends.
func (n *NATS) Run(ctx context.Context) error {
	if err := n.defaults(); err != nil {
		return err
	}
	nc, err := n.dial()
	if err != nil {
		return err
	}
	defer nc.Close()
	if n.Connected != nil {
		n.Connected(nc)
	}
	wait := n.MinBackoff
	for ctx.Err() == nil {
		if natsconn.WaitConnected(ctx, nc, n.unreachable) != nil {
			break
		}
		begun, err := n.converse(ctx, nc)
		if ctx.Err() != nil {
			break
		}
		if begun && !errors.As(err, new(*natsconn.ForbiddenError)) {
			wait = n.MinBackoff
		}
		var f *fault
		if errors.As(err, &f) {
			wait = max(wait, f.wait)
		}
		n.lost(n.Log, n.Login.URL, err, wait)
		sleep(ctx, wait/2+rand.N(wait)) // so that a fleet does not come back as one
		wait = min(2*wait, n.MaxBackoff)
	}
	return ctx.Err()
}

// dial makes the connection that lives as long as Run.
func (n *NATS) dial() (*nats.Conn, error) {
	d := natsconn.Dialer{
		Login: n.Login, Name: "fanin-agent " + n.Hello.Agent, InboxPrefix: n.Subject.Answer(n.Hello.Agent, "inbox"),
		Timeout: n.GreetWithin, PingEvery: n.PingEvery,
		Up: func(*nats.Conn, bool) { n.away.Store(false) },
		Lost: func(_ *nats.Conn, err error) {
			n.interrupt(fmt.Errorf("the connection to the NATS server was lost: %w", err))
		},
		Failed:    n.unreachable,
		Forbidden: n.forbidden,
	}
	return d.Dial()
}

// unreachable reports a failed attempt to connect. An outage is logged once, whatever
// the reasons are: each server of a cluster has its own.
func (n *NATS) unreachable(_ *nats.Conn, err error) {
	if n.Explain != nil {
		err = n.Explain(err)
	}
	switch {
	case n.away.CompareAndSwap(false, true):
		n.lost(n.Log, n.Login.URL, err, 0)
	default:
		n.note(n.Login.URL, err)
	}
}

// forbidden handles a permission that the server denies. That the agent cannot answer
// requests keeps no lines.
func (n *NATS) forbidden(f *natsconn.ForbiddenError) {
	if f.Publish || strings.HasPrefix(f.Subject, n.Subject.Answers()) {
		n.interrupt(f)
		return
	}
	n.unserved.Do(func() {
		n.Log.Info("this agent cannot answer requests over NATS: the server forbids it; lines are not affected", "subject", f.Subject)
	})
}

// interrupt ends the session that works now, or is being begun.
func (n *NATS) interrupt(err error) {
	n.mu.Lock()
	s := n.talking
	n.mu.Unlock()
	if s != nil {
		s.close(err)
	}
}

// converse has one session with a collector.
func (n *NATS) converse(ctx context.Context, nc *nats.Conn) (begun bool, err error) {
	s, err := n.talk(nc)
	if err != nil {
		return false, err
	}
	defer func() { s.close(nil) }()
	w, err := s.greet(ctx)
	switch {
	case err == nil:
		n.Log.Info("connected", "server", nc.ConnectedUrlRedacted(), "log", w.Log, "streams", len(w.Streams), "max_payload", nc.MaxPayload())
	case n.Ack != "stream", ctx.Err() != nil, errors.As(err, new(*fault)):
		return false, err
	default:
		n.lost(n.Log, n.Login.URL, fmt.Errorf("no collector answers; what the stream %s takes counts as sent: %w", n.Stream, err), 0)
		s.close(err)
		if s, err = n.talk(nc); err != nil {
			return false, err
		}
		w, s.alone = n.Known(), true
	}
	if w.MaxText = n.maxText(nc); w.MaxText < 2<<10 {
		return false, fmt.Errorf("the server's max_payload is %d bytes: fanin needs 4096 at least", nc.MaxPayload())
	}
	s.log = w.Log
	if n.OnWelcome != nil {
		n.OnWelcome(w)
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
	if b.Stream.IsZero() {
		return &wire.Refused{Reason: "lines without a stream cannot be acknowledged"}
	}
	if err := cmp.Or(b.Check(), ctx.Err()); err != nil {
		return err
	}
	s, err := n.current(ctx)
	if err != nil {
		return err
	}
	if n.Stream == "" {
		return s.ask(ctx, &b)
	}
	return s.push(ctx, &b)
}

// careful are streams whose batches need the collector's word even when the
// NATS stream's would do: the last word was that it does not fit, or is refused.
type careful struct {
	streams  map[wire.StreamID]bool
	patience map[wire.StreamID]time.Duration // for the next answer through a stream
}

func (n *NATS) isCareful(id wire.StreamID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.careful.streams[id]
}

func (n *NATS) beCareful(id wire.StreamID, is bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !is {
		delete(n.careful.streams, id)
		return
	}
	if n.careful.streams == nil {
		n.careful.streams = make(map[wire.StreamID]bool)
	}
	n.careful.streams[id] = true
}

// patient is how long to wait for the answer to a batch of the stream that went
// through JetStream: others may be before it, and each copy more makes that worse.
func (n *NATS) patient(id wire.StreamID) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return max(n.careful.patience[id], n.AnswerWithin)
}

func (n *NATS) answered(id wire.StreamID, waited time.Duration, did bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if did {
		delete(n.careful.patience, id)
		return
	}
	if n.careful.patience == nil {
		n.careful.patience = make(map[wire.StreamID]time.Duration)
	}
	n.careful.patience[id] = min(2*waited, 5*time.Minute)
}

// jetStreamError says in other words what most often is the matter.
func (n *NATS) jetStreamError(err error) error {
	var api *jetstream.APIError
	switch {
	case natsconn.NoStream(err):
		return fmt.Errorf("no stream takes %s: is JetStream on, and does the stream %s have the subject %s? %w",
			n.Subject.Batch(n.Hello.Agent), n.Stream, n.Subject.AllBatches(), err)
	case errors.As(err, &api) && strings.Contains(api.Description, "maximum"):
		return fmt.Errorf("the stream %s is full, and its lines wait in their files: %w", n.Stream, err)
	}
	return fmt.Errorf("publish to the stream %s: %w", n.Stream, err)
}
