package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"

	"fanin/ingest"
	"fanin/internal/counters"
	"fanin/internal/disk"
	"fanin/internal/lines"
	"fanin/internal/natsconn"
	"fanin/internal/retry"
	"fanin/internal/wire"
)

// NATS takes lines from a NATS server: agents' batches, which are answered, and
// messages of anybody as plain lines. Messages come as they are published, or
// through a JetStream stream; then each is kept exactly once, in the stream's
// order. Set the fields, then Serve. Zero fields take the defaults named.
//
//	agents ----> agents.hear ---------------------> Out.Append -> answer
//	plain -----> subjectReader.run -> pile ---------------> Out.Append
//	JetStream -> streamReader.run -> streamReader.process -> Out.Append -> answer, ack
type Input struct {
	Conn     *nats.Conn                       // required; it stays the caller's
	Out      wire.Appender                    // who keeps the lines; required
	Welcome  func(agent string) wire.Welcome  // what to tell an agent that connects; nil refuses agents
	Sessions *ingest.Sessions                 // shared by the listeners of a process; nil: its own
	Budget   *ingest.Budget                   // shared by the listeners of a process; nil: its own
	Metrics  *Metrics                         // shared by the listeners of a process; nil: its own
	Inputs   *counters.Set                    // counts lines; shared by all of a process; nil: its own
	Log      *slog.Logger                     // nil: discard
	Notice   func(format string, args ...any) // says in the log itself what was lost; nil: only Log

	Agents   natsconn.Subjects // where agents are met; "": nowhere
	Subjects []string          // of plain messages, with wildcards; a message's subject is its lines' source
	Queue    string            // without Stream: share the messages with others of this queue group
	Stream   string            // take plain messages, and agents' batches, from this JetStream stream
	Durable  string            // its consumer; default "fanin"
	Create   bool              // make stream and consumer where they are missing
	Replicas int               // of a stream that is made; default 1
	Host     string            // of plain lines; default "nats"

	TrustHost   bool   // an agent may name any host, not only its id
	RefusedDir  string // where batches from the stream are kept that the log refused; "": they are only counted and reported
	KeepRefused int64  // bytes of them, a sixteenth of it for one agent; default 256 MiB
	Disk        *disk.Disk

	MaxLine      int           // longer plain lines are split; default wire.MaxLine, at least 256 bytes
	Pending      int           // bytes of plain messages that wait to be kept; what comes beyond is dropped, and counted; default 64 MiB
	AgentTimeout time.Duration // forgets silent agents, which ping each 5 s; default 12 s

	once                   sync.Once
	limited                *retry.Log
	ctx                    context.Context // of every Append: ends when a Shutdown is given up
	giveUp                 context.CancelFunc
	unpack                 func() (*zstd.Decoder, error)
	plainLines, agentLines *counters.Input
	refusals               refusals
	taking                 context.Context // ends with Shutdown
	stopTaking             context.CancelFunc
	serving                sync.WaitGroup

	subscribing sync.Mutex

	mu          sync.Mutex
	trouble     map[string]string // by what is in trouble
	unreachable error             // why the last attempt to connect failed
	taken       error             // another log's collector has the name Agents
	named       chan struct{}     // closed when it was asked whether one has
}

func (n *Input) setUp() {
	n.once.Do(func() {
		n.Sessions, n.Budget = cmp.Or(n.Sessions, new(ingest.Sessions)), cmp.Or(n.Budget, new(ingest.Budget))
		if n.Metrics == nil {
			n.Metrics = NewMetrics(new(ingest.Metrics))
		}
		if n.Log == nil {
			n.Log = slog.New(slog.DiscardHandler)
		}
		if n.Notice == nil {
			n.Notice = func(string, ...any) {}
		}
		if n.Inputs == nil {
			n.Inputs = new(counters.Set)
		}
		class := counters.None
		if n.Stream != "" {
			class = counters.Sequence
		}
		n.plainLines, n.agentLines = n.Inputs.New("nats", class), n.Inputs.New("nats-agent", counters.Sequence)
		n.limited = retry.NewLog(n.Log)
		n.Durable = cmp.Or(n.Durable, "fanin")
		n.Replicas = cmp.Or(n.Replicas, 1)
		n.Host = cmp.Or(n.Host, "nats")
		n.MaxLine = cmp.Or(n.MaxLine, wire.MaxLine)
		n.Pending = cmp.Or(n.Pending, 64<<20)
		n.KeepRefused = cmp.Or(n.KeepRefused, 256<<20)
		n.AgentTimeout = cmp.Or(n.AgentTimeout, 12*time.Second)
		n.MaxLine = min(max(n.MaxLine, lines.MinLimit), wire.MaxLine)
		n.ctx, n.giveUp = context.WithCancel(context.Background())
		n.unpack = sync.OnceValues(ingest.NewUnpacker)
		n.taking, n.stopTaking = context.WithCancel(context.Background())
		n.named = make(chan struct{})
		if !n.meetsAgents() {
			close(n.named)
		}
		n.trouble = make(map[string]string)
		n.refusals = refusals{disk: n.Disk, dir: n.RefusedDir, stream: n.Stream, most: n.KeepRefused, told: make(map[string]bool)}
		if n.Disk == nil {
			n.refusals.disk = new(disk.Disk)
		}
		n.Metrics.kept.Add(float64(n.refusals.measure()))
		n.await()
	})
}

// Serve takes messages until Shutdown. The server may be absent: it is waited for.
func (n *Input) Serve() error {
	n.setUp()
	if !n.enter() {
		return ingest.ErrServerClosed
	}
	defer n.serving.Done()
	var parts sync.WaitGroup
	if n.meetsAgents() {
		parts.Go(func() { newAgents(n).run() }) // ends with draining, as the others do
	}
	switch {
	case n.Stream != "":
		parts.Go(func() { newStreamReader(n).run() })
	default:
		for _, subject := range n.Subjects {
			parts.Go(func() { (&subjectReader{n: n, subject: subject}).run() })
		}
	}
	<-n.taking.Done()
	parts.Wait()
	return ingest.ErrServerClosed
}

func (n *Input) meetsAgents() bool { return n.Agents != "" && n.Welcome != nil }

// setName takes the outcome of asking whether another log's collector has the name.
func (n *Input) setName(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.taken = nil; errors.Is(err, errTaken) {
		n.taken = err
	}
	select {
	case <-n.named:
	default:
		close(n.named)
	}
}

// mine waits until it is known whether agents' batches in a stream are for this log,
// and says whose they are if not.
func (n *Input) mine() error {
	select {
	case <-n.named:
	case <-n.taking.Done():
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.taken
}

// enter counts a Serve in, unless Shutdown came first.
func (n *Input) enter() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.isDraining() {
		return false
	}
	n.serving.Add(1)
	return true
}

// await notes what is not being taken yet.
func (n *Input) await() {
	if n.meetsAgents() {
		n.trouble["agents"] = notYet
	}
	if n.Stream != "" {
		n.trouble["stream "+n.Stream] = notYet
		return
	}
	for _, subject := range n.Subjects {
		n.trouble["subject "+subject] = notYet
	}
}

const notYet = "not yet"

// notYet notes that a part begins anew.
func (n *Input) notYet(part string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.trouble[part] = notYet
}

// Shutdown stops taking messages, tells agents to come back later, and waits for
// every outcome. When ctx ends first, it returns ctx's error.
func (n *Input) Shutdown(ctx context.Context) error {
	n.setUp()
	n.mu.Lock()
	n.stopTaking()
	n.mu.Unlock()
	done := make(chan struct{})
	go func() { // ends with the last Serve
		n.serving.Wait()
		close(done)
	}()
	defer n.giveUp()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (n *Input) isDraining() bool { return n.taking.Err() != nil }

// pause waits, and reports whether to go on.
func (n *Input) pause(d time.Duration) bool { return retry.Pause(n.taking, d) == nil }

// Trouble says what keeps messages from being taken now; "": nothing does.
func (n *Input) Trouble() string {
	n.setUp()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.Conn.IsConnected() {
		return fmt.Sprintf("not connected: %v", cmp.Or(n.unreachable, errors.New("still trying")))
	}
	var all []string
	for _, part := range slices.Sorted(maps.Keys(n.trouble)) {
		all = append(all, part+": "+n.trouble[part])
	}
	return strings.Join(all, "; ")
}

// setTrouble notes what is wrong with a part, and says it when it is news; nil:
// nothing any more.
func (n *Input) setTrouble(part string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	n.mu.Lock()
	before := n.trouble[part]
	delete(n.trouble, part)
	if err != nil {
		n.trouble[part] = text
	}
	n.mu.Unlock()
	switch {
	case before == text, n.isDraining():
	case err != nil:
		n.Log.Warn("messages are not taken; trying again", "from", part, "server", n.Conn.ConnectedUrlRedacted(), "err", err)
	default:
		n.Log.Info("messages are taken", "from", part, "server", n.Conn.ConnectedUrlRedacted())
	}
}

// connected waits for the server; false: it is time to end.
func (n *Input) connected() bool {
	return natsconn.WaitConnected(n.taking, n.Conn, n.Unreachable) == nil
}

// Unreachable reports the outcome of an attempt to connect, nil: it is connected. It is
// for the connection's handlers. An outage is logged once, whatever the reasons are.
func (n *Input) Unreachable(nc *nats.Conn, err error) {
	n.setUp()
	n.mu.Lock()
	news := err != nil && n.unreachable == nil
	n.unreachable = err
	n.mu.Unlock()
	if news {
		n.Log.Warn("the NATS server cannot be reached; it is tried again and again", "server", strings.Join(nc.Servers(), ","), "err", err)
	}
}

// Forbidden reports what the server forbids; nil: a new connection was made, and nothing
// is known to be forbidden. It is for the connection's handlers. A forbidden subscription
// is reported to its caller, see subscribed.
func (n *Input) Forbidden(f *natsconn.ForbiddenError) {
	n.setUp()
	switch {
	case f == nil:
		n.setTrouble("permissions", nil)
	case f.Publish:
		n.setTrouble("permissions", f)
	}
}

// subscribed makes subscriptions, one after the other, so that what the server says
// of one is not taken for another's.
func (n *Input) subscribed(subject string, subscribe func() error) error {
	n.subscribing.Lock()
	defer n.subscribing.Unlock()
	before := n.Conn.LastError()
	if err := subscribe(); err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	if err := n.Conn.Flush(); err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	if err := n.Conn.LastError(); err != nil && err != before {
		if f := natsconn.AsForbidden(err); f != nil && !f.Publish && f.Subject == subject {
			return f
		}
	}
	return nil
}
