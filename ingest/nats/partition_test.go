package nats

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natsconn"
	"fanin/internal/natstest"
	"fanin/internal/sequence"
	"fanin/internal/ship"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// owner is the owner of a partition, whose commits are made known, or not.
type owner struct {
	*Input
	log *appendertest.Memory

	mu          sync.Mutex
	refuse      error
	replaced    error // what Check returns
	rests       atomic.Int64
	committed   []uint64
	moved       []wire.StreamID // since the last commit
	unannounced int             // batches of streams that were not said to move
}

// Append is the log's. What it gets was announced.
func (o *owner) Append(ctx context.Context, b wire.Batch) error {
	o.mu.Lock()
	if len(b.Text) > 0 && len(o.moved) == 0 {
		o.unannounced++
	}
	o.mu.Unlock()
	return o.log.Append(ctx, b)
}

func (o *owner) moves(streams []wire.StreamID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.moved = append(o.moved, streams...)
}

func (o *owner) set(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refuse = err
}

func (o *owner) check(context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.replaced
}

func (o *owner) commit(_ context.Context, last sequence.Entry) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refuse == nil {
		o.committed = append(o.committed, last.Number)
		o.moved = nil
	}
	return o.refuse
}

func (o *owner) last() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.committed) == 0 {
		return 0
	}
	return o.committed[len(o.committed)-1]
}

// own serves partition p of two.
func own(t *testing.T, s *natstest.Server, p int, epoch uint64, m *appendertest.Memory, change ...func(*Partition)) (*owner,
	func()) {
	t.Helper()
	o := &owner{log: m}
	o.Input = &Input{Out: o, Welcome: m.Welcome, Agents: AgentOptions{Subjects: "fanin"},
		Plain:    PlainOptions{Subjects: []string{"logs.>"}},
		Refusals: RefusedStore{Dir: filepath.Join(t.TempDir(), "refused")},
		Stream: StreamOptions{Name: "LOGS", Create: true, Partition: &Partition{Number: p, Count: 2, Epoch: epoch,
			Check: o.check, Moves: o.moves, Commit: o.commit,
			Rest: func(context.Context) error { o.rests.Add(1); return nil }}}}
	for _, f := range change {
		f(o.Stream.Partition)
	}
	stop := serve(t, s, o.Input)
	healthy(t, o.Input)
	return o, stop
}

// agentOf is an agent of a partition of two, through the stream.
func agentOf(t *testing.T, s *natstest.Server, p int) *ship.NATS {
	t.Helper()
	id := ""
	for i := 0; id == ""; i++ {
		if name := fmt.Sprintf("web-%d.example.net", i); natsconn.Partition(natsconn.Subjects("fanin").Batch(name), 2) == p {
			id = name
		}
	}
	n := &ship.NATS{Login: natsconn.Login{URL: s.ClientURL()}, Stream: "LOGS",
		Hello: wire.Hello{Agent: id, Instance: wire.NewStreamID(), Run: 1, Host: id, Software: "test"}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }() // ends with the test
	t.Cleanup(func() { cancel(); <-done })
	return n
}

// opened opens a stream of an agent.
func opened(t *testing.T, n *ship.NATS) wire.Batch {
	t.Helper()
	b := wire.Batch{Op: wire.OpOpen, Stream: wire.NewStreamID(), Epoch: 1, Source: "app"}
	b.Identity = []byte("inode")
	if err := n.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return wire.Batch{Stream: b.Stream, Epoch: 1}
}

// Each owner has the messages of its partition alone, plain ones and agents', and nothing is answered
// before it was made known. What could not be made known is there for the next owner, at a
// consumer of its own; the agent notices nothing of it.
func TestPartition(t *testing.T) {
	s := natstest.New(t)
	memory := func() *appendertest.Memory {
		return &appendertest.Memory{Log: wire.StreamID{7}, Incarnation: wire.StreamID{7}}
	}
	a, stop := own(t, s, 0, 5, memory())
	other, _ := own(t, s, 1, 6, memory())
	nc := s.Connect()
	want := map[int]string{}
	for i := range 20 {
		subject := fmt.Sprintf("logs.app%d", i)
		p := natsconn.Partition(subject, 2)
		want[p] += fmt.Sprintf("line %d\n", i)
		publishStored(t, nc, subject, fmt.Sprintf("line %d", i))
	}
	waitFor(t, a.log, a.Input, want[0])
	waitFor(t, other.log, other.Input, want[1])

	n := agentOf(t, s, 0)
	b := opened(t, n)
	a.set(errors.New("the journal does not answer"))
	b.Text, b.End, b.After = []byte("one\n"), 4, 4
	answered := make(chan error, 1)
	go func() { answered <- n.Append(t.Context(), b) }() // ends with its answer
	id := b.Stream
	waittest.UntilEqual(t, "the log", "one\n", func() string { return string(a.log.Text(id)) })
	troubled(t, a.Input, "the journal does not answer")
	select {
	case err := <-answered:
		t.Fatalf("the batch was answered before it was made known: %v", err)
	default:
	}
	stop()
	if len(a.moved) == 0 || a.unannounced > 0 {
		t.Errorf("%d streams are said to move, and %d batches came before", len(a.moved), a.unannounced)
	}

	// The next owner has not seen the group, and takes it.
	next := memory()
	next.Append(t.Context(), wire.Batch{Op: wire.OpOpen, Kind: wire.StreamAgent, Stream: b.Stream, Epoch: 1, Agent: n.Hello.Agent,
		Source: "app", Control: wire.Control{Identity: []byte("inode")}})
	c, _ := own(t, s, 0, 9, next)
	if err := <-answered; err != nil {
		t.Errorf("the next owner answered %v", err)
	}
	if got := string(next.Text(id)); got != "one\n" {
		t.Errorf("the next owner has %q", got)
	}
	b.Offset, b.Before, b.Text, b.End, b.After = 4, 4, []byte("two\n"), 8, 8
	if err := n.Append(t.Context(), b); err != nil {
		t.Errorf("in the session that an earlier owner began: %v", err)
	}
	if got := string(next.Text(id)); got != "one\ntwo\n" || c.last() == 0 {
		t.Errorf("the next owner has %q, and made %d known", got, c.last())
	}
	consumers := consumersOf(t, s)
	if !slices.Equal(consumers, []string{"fanin-0-9", "fanin-1-6"}) {
		t.Errorf("the consumers are %q", consumers)
	}
	if names := strings.Join(agentsOf(c.Input), " "); names != n.Hello.Agent {
		waittest.UntilEqual(t, "the agent's session", n.Hello.Agent, func() string { return strings.Join(agentsOf(c.Input), " ") })
	}
}

func agentsOf(n *Input) (ids []string) {
	for _, x := range n.Sessions.List() {
		ids = append(ids, x.Agent)
	}
	return ids
}

func consumersOf(t *testing.T, s *natstest.Server) (names []string) {
	t.Helper()
	stream, err := s.JetStream(s.Connect()).Stream(t.Context(), "LOGS")
	if err != nil {
		t.Fatal(err)
	}
	for name := range stream.ConsumerNames(t.Context()).Name() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// An agent that does not send through the stream is told how to, and one of another partition is
// not welcomed.
func TestPartitionDirect(t *testing.T) {
	s := natstest.New(t)
	m := &appendertest.Memory{Log: wire.StreamID{7}, Incarnation: wire.StreamID{7}}
	own(t, s, 0, 5, m)
	n := agentOf(t, s, 0)
	opened(t, n)
	nc := s.Connect()
	p := natsconn.Subjects("fanin")
	hello := wire.AppendHello(nil, n.Hello)
	batch := wire.Batch{Op: wire.OpOpen, Stream: wire.StreamID{1}, Epoch: 1, Source: "app"}
	batch.Identity = []byte("x")
	f, ok := ask(t, nc, p.Log(m.Log, n.Hello.Agent), n.Hello.Agent, wire.AppendBatch(hello, &batch, 0, nil))
	if !ok || f.Kind != wire.KindFault || !strings.Contains(f.Reason, `set stream = "LOGS" in [agent.nats]`) {
		t.Errorf("a batch that did not come through the stream: %+v", f)
	}
}

// A consumer of a later epoch, of a time before the bucket of the cluster was deleted, is removed: the
// stream gives its messages to the owner.
func TestPartitionLeftConsumer(t *testing.T) {
	s := natstest.New(t)
	memory := func() *appendertest.Memory {
		return &appendertest.Memory{Log: wire.StreamID{7}, Incarnation: wire.StreamID{7}}
	}
	own(t, s, 1, 6, memory())
	stream, err := s.JetStream(s.Connect()).Stream(t.Context(), "LOGS")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "fanin-0-99",
		FilterSubject: natsconn.OfPartition(0), AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	own(t, s, 0, 5, memory())
	if consumers := consumersOf(t, s); !slices.Equal(consumers, []string{"fanin-0-5", "fanin-1-6"}) {
		t.Errorf("the consumers are %q", consumers)
	}
}

// An owner that was replaced welcomes no agent.
func TestPartitionReplaced(t *testing.T) {
	s := natstest.New(t)
	m := &appendertest.Memory{Log: wire.StreamID{7}, Incarnation: wire.StreamID{7}}
	o, _ := own(t, s, 0, 5, m)
	waittest.Until(t, "the log is asked for lines of its own", func() bool { return o.rests.Load() > 1 })
	n := agentOf(t, s, 0)
	opened(t, n)
	nc := s.Connect()
	p, hello := natsconn.Subjects("fanin"), wire.AppendHello(nil, n.Hello)
	o.mu.Lock()
	o.replaced = errors.New("another collector owns the partition now")
	o.mu.Unlock()
	sub, err := nc.SubscribeSync(p.Answer(n.Hello.Agent, "t.first"))
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest(p.Hello(n.Hello.Agent), sub.Subject, hello); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.NextMsg(time.Second); err == nil {
		t.Errorf("an owner that was replaced answers %q", m.Data)
	}
	o.mu.Lock()
	o.replaced = nil
	o.mu.Unlock()
	if f, ok := ask(t, nc, p.Hello(n.Hello.Agent), n.Hello.Agent, hello); !ok || f.Kind != wire.KindWelcome {
		t.Errorf("the owner answers %+v, %v", f, ok)
	}
}
