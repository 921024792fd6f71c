package nats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"fanin/internal/disk"
	"fanin/internal/natsconn"
	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// truster is an agent that relies on the stream: it publishes a stream of its lines, and waits for no
// answer unless its token asks for one.
type truster struct {
	t     *testing.T
	agent string
	nc    *nats.Conn
	n     *Input
	s     *wire.Batch
	token string
}

func newTruster(t *testing.T, s *natstest.Server, n *Input) *truster {
	return newTrusterOf(t, s, n, "a")
}

func newTrusterOf(t *testing.T, s *natstest.Server, n *Input, agent string) *truster {
	b := &truster{t: t, agent: agent, nc: s.Connect(), n: n, s: &wire.Batch{Stream: wire.NewStreamID(), Epoch: 1}, token: natsconn.Pushed + "1-1-1"}
	open := *b.s
	open.Op, open.Source = wire.OpOpen, "x"
	b.publish(&open)
	return b
}

// line publishes one more line.
func (b *truster) line(text string) {
	b.s.Text = []byte(text + "\n")
	b.s.Offset, b.s.Before = b.s.End, b.s.After
	b.s.End += int64(len(b.s.Text))
	b.s.After = wire.TailHash(b.s.Text)
	b.publish(b.s)
}

func (b *truster) publish(batch *wire.Batch) {
	b.t.Helper()
	m := nats.NewMsg(b.n.Agents.Subjects.Batch(b.agent))
	m.Data = append(wire.AppendBatch(helloOf(b.agent), batch, 0, batch.Text), batch.Text...)
	m.Header.Set(natsconn.HeaderAnswer, "s."+b.token)
	if _, err := jetStream(b.t, b.nc).PublishMsg(b.t.Context(), m); err != nil {
		b.t.Fatal(err)
	}
}

// notices are the input's notices.
type notices struct {
	mu   sync.Mutex
	list []string
}

func (l *notices) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, fmt.Sprintf(format, args...))
}

func (l *notices) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.list, "\n")
}

func trustInput(m *appendertest.Memory, dir string) *Input {
	return &Input{Out: m, Welcome: m.Welcome, Agents: AgentOptions{Subjects: "fanin"}, Stream: StreamOptions{Name: "LOGS", Create: true}, Plain: PlainOptions{Subjects: []string{"logs.>"}}, Refusals: RefusedStore{Dir: filepath.Join(dir, "refused")}}
}

// refusing refuses lines that contain a word, as long as refuse is set.
func refusing(m *appendertest.Memory, word string) (refuse *atomic.Bool) {
	refuse = new(atomic.Bool)
	refuse.Store(true)
	m.Before = func(_ context.Context, b wire.Batch) error {
		if refuse.Load() && strings.Contains(string(b.Text), word) {
			return &wire.Refused{Reason: "not today"}
		}
		return nil
	}
	return refuse
}

// TestRefusedReplay: a refused batch that no agent sends again, and what does not fit behind it, is kept
// and reported. It outlives the stream and the collector, and is in the log, in its order, when it was
// published again.
func TestRefusedReplay(t *testing.T) {
	s := natstest.New(t)
	m := &appendertest.Memory{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	refuse := refusing(m, "bad")
	dir := t.TempDir()
	var reported notices
	n := trustInput(m, dir)
	n.Notice = reported.add
	stop := serve(t, s, n)
	healthy(t, n)
	b := newTruster(t, s, n)
	for _, text := range []string{"one", "bad two", "three"} {
		b.line(text)
	}
	kept := func(n *Input) []Refused {
		t.Helper()
		list, err := n.Refused()
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	await(t, jetStream(t, b.nc), 0)
	if got := string(m.Text(b.s.Stream)); got != "one\n" {
		t.Errorf("the log has %q", got)
	}
	list := kept(n)
	if len(list) != 2 || list[0].Offsets != "4-12" || list[0].Stream != b.s.Stream.Owned(wire.StreamAgent, "a").String() || !strings.Contains(list[0].Reason, "not today") || list[1].Offsets != "12-18" {
		t.Fatalf("kept is %+v", list)
	}
	for _, want := range []string{"LOST agent=a stream=" + b.s.Stream.Owned(wire.StreamAgent, "a").String() + " offsets=4-12 reason=", "not today", " offsets=12-18 reason=", "kept in " + list[0].File} {
		if !strings.Contains(reported.String(), want) {
			t.Errorf("the notices lack %q: %s", want, reported.String())
		}
	}
	if got := count(n.Metrics.refused["yes"]); got != 2 {
		t.Errorf("%d were counted", got)
	}
	stop()

	refuse.Store(false)
	n = trustInput(m, dir)
	serve(t, s, n)
	healthy(t, n)
	if got := count(n.Metrics.kept); got != 2 {
		t.Errorf("%d are kept, going by the metric", got)
	}
	if replayed, err := n.Replay(t.Context()); replayed != 2 || err != nil {
		t.Fatalf("%d were published again: %v", replayed, err)
	}
	waittest.UntilEqual(t, "the log", "one\nbad two\nthree\n", func() string { return string(m.Text(b.s.Stream)) })
	if list := kept(n); len(list) != 0 || count(n.Metrics.kept) != 0 {
		t.Errorf("still kept: %+v", list)
	}
}

// TestRefusedHeard: an agent that waits for the answer still has its lines, and nothing is kept. Neither
// is what the log already has.
func TestRefusedHeard(t *testing.T) {
	s := natstest.New(t)
	m := &appendertest.Memory{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	refusing(m, "bad")
	n := trustInput(m, t.TempDir())
	serve(t, s, n)
	healthy(t, n)
	b := newTruster(t, s, n)
	b.line("one")
	b.publish(b.s) // a repeat
	b.token = "7"
	b.line("bad two")
	await(t, jetStream(t, b.nc), 0)
	if list, err := n.Refused(); len(list) != 0 || err != nil {
		t.Errorf("kept: %+v, %v", list, err)
	}
}

// TestRefusedShare: an agent whose messages cannot even be read uses its share of the kept messages and
// no more. The rest is counted and reported, in few lines, and others are not affected: their lines are
// committed, and what is refused of them is kept. The share holds after a restart.
func TestRefusedShare(t *testing.T) {
	s := natstest.New(t)
	m := &appendertest.Memory{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	refusing(m, "bad")
	dir := t.TempDir()
	const share, messages = 2000, 100
	kept := func(n *Input, agent string) (list []Refused) {
		t.Helper()
		all, err := n.Refused()
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range all {
			if x.Agent == agent {
				list = append(list, x)
			}
		}
		return list
	}
	mine := 0
	for run := range 2 {
		var reported notices
		n := trustInput(m, dir)
		n.Refusals.Keep, n.Notice = refusedShares*share, reported.add
		stop := serve(t, s, n)
		healthy(t, n)
		b := newTrusterOf(t, s, n, "b")
		for range messages {
			publishStored(t, b.nc, n.Agents.Subjects.Batch("a"), "x")
		}
		b.line("good")
		b.line("bad")
		publishStored(t, b.nc, "logs.a", fmt.Sprint("behind ", run))
		await(t, jetStream(t, b.nc), 0)
		if got := string(m.Text(b.s.Stream)); got != "good\n" {
			t.Errorf("the log has %q of another agent", got)
		}
		if list := kept(n, "b"); len(list) != run+1 {
			t.Errorf("kept of another agent is %+v", list)
		}
		was := mine
		mine = len(kept(n, "a"))
		if mine == 0 || mine > share/100 || run == 1 && mine != was {
			t.Errorf("%d messages are kept of the agent, and %d before", mine, was)
		}
		no, said := messages-(mine-was), 0
		for line := range strings.Lines(reported.String()) {
			if x := 0; strings.Contains(line, " agent=a stream=? offsets=? ") && strings.Contains(line, "not kept") {
				fmt.Sscanf(line, "LOST n=%d", &x)
				said += x
			}
		}
		if got := count(n.Metrics.refused["no"]); int(got) != no || said != no {
			t.Errorf("%v are counted and %d reported, want %d: %s", got, said, no, reported.String())
		}
		stop()
	}
}

// TestRefusedFull: when no more can be kept in total, what is refused is reported and discarded, and
// what is behind it is committed. When there is space, messages are kept again.
func TestRefusedFull(t *testing.T) {
	s := natstest.New(t)
	m := &appendertest.Memory{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	refusing(m, "bad")
	var reported notices
	n := trustInput(m, t.TempDir())
	n.Refusals.Keep, n.Notice = 500, reported.add // one, and not two
	serve(t, s, n)
	healthy(t, n)
	b, c := newTruster(t, s, n), newTrusterOf(t, s, n, "c")
	b.line("bad one")
	await(t, jetStream(t, b.nc), 0)
	c.line("bad two")
	publishStored(t, b.nc, "logs.a", "behind")
	waitFor(t, m, n, "behind\n")
	list, err := n.Refused()
	if len(list) != 1 || err != nil || list[0].Agent != "a" {
		t.Fatalf("kept: %+v, %v", list, err)
	}
	if want := fmt.Sprintf("LOST n=1 unit=messages agent=c stream=%s offsets=0-8 reason=", c.s.Stream.Owned(wire.StreamAgent, "c")); !strings.Contains(reported.String(), want) || !strings.Contains(reported.String(), "not kept") {
		t.Errorf("the notices lack %q: %s", want, reported.String())
	}
	if err := os.Remove(list[0].File); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "a message to be kept", func() bool {
		c.line("bad again")
		await(t, jetStream(t, b.nc), 0)
		list, err = n.Refused()
		return len(list) == 1
	})
	if list[0].Agent != "c" {
		t.Errorf("kept: %+v", list)
	}
}

// TestRefusedDurable: a message is acknowledged only when it is kept. While the disk fails, it stays in
// the stream.
func TestRefusedDurable(t *testing.T) {
	s := natstest.New(t)
	m := &appendertest.Memory{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	refusing(m, "bad")
	dir := t.TempDir()
	n := trustInput(m, dir)
	var broken atomic.Bool
	broken.Store(true)
	n.Refusals.Disk = &disk.Disk{Fault: func(op disk.Op, _ string) (int, error) {
		if broken.Load() && op == disk.OpSync {
			return 0, errors.New("the disk is broken")
		}
		return 0, nil
	}}
	serve(t, s, n)
	healthy(t, n)
	b := newTruster(t, s, n)
	await(t, jetStream(t, b.nc), 0)
	b.line("bad one")
	troubled(t, n, "the disk is broken")
	await(t, jetStream(t, b.nc), 1)
	broken.Store(false)
	waittest.Until(t, "the message to be kept", func() bool { return count(n.Metrics.refused["yes"]) == 1 })
	if list, err := n.Refused(); len(list) != 1 || err != nil {
		t.Errorf("kept: %+v, %v", list, err)
	}
}
