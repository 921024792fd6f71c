// Package nats is the input from a NATS server: agents' batches, which are answered, and
// other clients' messages as plain lines. Messages come as they are published, or through a
// JetStream stream; then each is in the log exactly once, in the stream's order.
//
//	agents ----> responder.work ----------------------------> Out.Append -> answer
//	subjects --> subjectReader.run -> sequence.Builder -----> Out.Append
//	JetStream -> streamReader.run -> streamReader.process --> Out.Append -> answer, ack
package nats

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"

	"fanin/ingest"
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/natsconn"
	"fanin/internal/retry"
	"fanin/internal/wire"
)

// Input accepts lines from one NATS server. Set the fields, then Serve. Zero fields take the
// defaults named.
type Input struct {
	Conn     *nats.Conn                       // required; the caller closes it
	Out      wire.Appender                    // commits the lines; required
	Welcome  func(agent string) wire.Welcome  // for an agent that connects; nil refuses agents
	Sessions *ingest.Sessions                 // shared by the listeners of a process; nil: its own
	Budget   *ingest.Budget                   // shared by the listeners of a process; nil: its own
	Metrics  *Metrics                         // shared by the listeners of a process; nil: its own
	Inputs   *counters.Set                    // counts lines; shared by all of a process; nil: its own
	Log      *slog.Logger                     // nil: discard
	Notice   func(format string, args ...any) // reports in the log itself what was lost; nil: only Log

	Agents   AgentOptions
	Plain    PlainOptions
	Stream   StreamOptions
	Refusals RefusedStore // of batches that the log refused

	once    sync.Once
	life    ingest.Lifetime
	health  health
	name    nameCheck
	limited *retry.Log
	unpack  func() (*zstd.Decoder, error)
	lines   struct{ plain, agents *counters.Input }
}

// AgentOptions are how agents are served.
type AgentOptions struct {
	Subjects  natsconn.Subjects // where agents are met; "": nowhere
	TrustHost bool              // an agent may name any host, not only its id
	Timeout   time.Duration     // removes silent agents, which ping every 5 s; default 12 s
	Relays    *ingest.Relays    // which agent ids may forward another log; nil: none
}

// PlainOptions are which messages become lines, and how.
type PlainOptions struct {
	Subjects []string // with wildcards; a message's subject is the source of its lines
	Queue    string   // without a stream: share the messages with the other members of this queue group
	Host     string   // of the lines; default "nats"
	MaxLine  int      // longer lines are split; default wire.MaxLine, at least 256 bytes
	Pending  int      // bytes of messages that wait; further ones are dropped, and counted; default 64 MiB
}

// StreamOptions name the JetStream stream that plain messages and agents' batches come from.
type StreamOptions struct {
	Name     string // "": none; messages are read as they are published
	Durable  string // its consumer; default "fanin"
	Create   bool   // create stream and consumer if they are missing
	Replicas int    // of a created stream; default 1

	Partition *Partition // that is read; nil: all of the stream is
}

func (n *Input) setUp() {
	n.once.Do(func() {
		n.Sessions, n.Budget = cmp.Or(n.Sessions, new(ingest.Sessions)), cmp.Or(n.Budget, new(ingest.Budget))
		n.Inputs = cmp.Or(n.Inputs, new(counters.Set))
		if n.Metrics == nil {
			n.Metrics = NewMetrics(new(ingest.Metrics))
		}
		if n.Log == nil {
			n.Log = slog.New(slog.DiscardHandler)
		}
		if n.Notice == nil {
			n.Notice = func(string, ...any) {}
		}
		n.Agents.Timeout = cmp.Or(n.Agents.Timeout, 12*time.Second)
		n.Plain.Host = cmp.Or(n.Plain.Host, "nats")
		n.Plain.MaxLine = min(max(cmp.Or(n.Plain.MaxLine, wire.MaxLine), lines.MinLimit), wire.MaxLine)
		n.Plain.Pending = cmp.Or(n.Plain.Pending, 64<<20)
		n.Stream.Durable, n.Stream.Replicas = cmp.Or(n.Stream.Durable, "fanin"), cmp.Or(n.Stream.Replicas, 1)
		if p := n.Stream.Partition; p != nil {
			n.Stream.Durable = p.consumerName()
		}
		n.limited = retry.NewLog(n.Log)
		n.unpack = sync.OnceValues(ingest.NewUnpacker)
		class := counters.None
		if n.Stream.Name != "" {
			class = counters.Sequence
		}
		n.lines.plain, n.lines.agents = n.Inputs.New("nats", class), n.Inputs.New("nats-agent", counters.Sequence)
		n.life.Begin()
		n.name.init(n.servesAgents())
		n.Metrics.kept.Add(float64(n.Refusals.open(n.Stream.Name)))
		n.health.troubles.Begin(n.parts())
	})
}

func (n *Input) servesAgents() bool { return n.Agents.Subjects != "" && n.Welcome != nil }

// Serve accepts messages until Shutdown. The server may be absent: it is waited for.
func (n *Input) Serve() error {
	n.setUp()
	if !n.life.Enter() {
		return ingest.ErrServerClosed
	}
	defer n.life.Leave()
	var parts sync.WaitGroup // all end with Shutdown
	if n.servesAgents() {
		parts.Go(func() { newResponder(n).run() })
	}
	if n.Stream.Name != "" {
		parts.Go(func() { newStreamReader(n).run() })
	} else {
		for _, subject := range n.Plain.Subjects {
			parts.Go(func() { (&subjectReader{n: n, subject: subject}).run() })
		}
	}
	<-n.life.Receiving.Done()
	parts.Wait()
	return ingest.ErrServerClosed
}

// Shutdown stops accepting messages, sends agents a drain, and waits for every outcome. When
// ctx ends first, it returns ctx's error.
func (n *Input) Shutdown(ctx context.Context) error {
	n.setUp()
	return n.life.Shutdown(ctx)
}

// reject counts and logs why a message is not accepted.
func (n *Input) reject(reason, text string, args ...any) {
	n.Metrics.rejected[reason].Inc()
	n.limited.Warn("nats_"+reason, text, args...)
}
