package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// collector is an Input with its log in memory; the function returned stops it.
func collector(t testing.TB, s *natstest.Server, m wire.Appender) (*Input, func()) {
	n := &Input{Out: m, Plain: PlainOptions{Subjects: []string{"logs.>"}}, Stream: StreamOptions{Name: "LOGS", Create: true}}
	return n, serve(t, s, n)
}

// text is what a log in memory has of the plain messages of a stream.
func text(m *appendertest.Memory, n *Input) string { return string(m.Text(newSequence(n).ID())) }

// writer is an io.Writer of whole lines.
type writer func(line string)

func (w writer) Write(p []byte) (int, error) { w(string(p)); return len(p), nil }

func waitFor(t testing.TB, m *appendertest.Memory, n *Input, want string) {
	t.Helper()
	waittest.UntilEqual(t, "the log", want, func() string { return text(m, n) })
}

// TestStreamOnce: whatever happens to a delivery, its lines are in the log once, in the stream's
// order: the acknowledgement is lost, the process ends with messages that it read and did not commit,
// and newer ones wait when the next process starts.
func TestStreamOnce(t *testing.T) {
	s := natstest.New(t)
	m := new(appendertest.Memory)
	n, stop := collector(t, s, m)
	healthy(t, n)
	nc := s.Connect()
	want := ""
	send := func(from, to int) {
		for i := from; i < to; i++ {
			line := fmt.Sprintf("line %d", i)
			publishStored(t, nc, fmt.Sprintf("logs.app%d", i%3), line)
			want += line + "\n"
		}
	}
	send(0, 50)
	waitFor(t, m, n, want)
	stop()

	// A process that commits some, acknowledges none, and reads more than it commits.
	taken, err := jetStream(t, nc).Consumer(t.Context(), "LOGS", "fanin")
	if err != nil {
		t.Fatal(err)
	}
	send(50, 80)
	batch, err := taken.Fetch(20)
	if err != nil {
		t.Fatal(err)
	}
	for range batch.Messages() {
	}
	send(80, 100)
	n, stop = collector(t, s, m)
	waitFor(t, m, n, want)
	if got := count(n.Metrics.reread); got < 20 {
		t.Errorf("%v messages were read by number, want 20 at least", got)
	}
	stop()

	// The stream forgets its consumer: everything comes again.
	if err := jetStream(t, nc).DeleteConsumer(t.Context(), "LOGS", "fanin"); err != nil {
		t.Fatal(err)
	}
	send(100, 110)
	n, _ = collector(t, s, m)
	waitFor(t, m, n, want)
}

// TestStreamStolen: a message that was delivered to another process, which ignores it, is read by its
// number before anything newer. If that repeats, it is logged.
func TestStreamStolen(t *testing.T) {
	s := natstest.New(t)
	m := new(appendertest.Memory)
	n := &Input{Out: m, Plain: PlainOptions{Subjects: []string{"logs.>"}}, Stream: StreamOptions{Name: "LOGS", Create: true}}
	var warned atomic.Bool
	n.Log = slog.New(slog.NewTextHandler(writer(func(line string) {
		if strings.Contains(line, "another process reads messages of this consumer") {
			warned.Store(true)
		}
	}), nil))
	serve(t, s, n)
	healthy(t, n)
	nc := s.Connect()
	publishStored(t, nc, "logs.a", "begin")
	waitFor(t, m, n, "begin\n")
	c, err := jetStream(t, nc).Consumer(t.Context(), "LOGS", "fanin")
	if err != nil {
		t.Fatal(err)
	}
	thief, err := c.Messages(jetstream.PullMaxMessages(1))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with Stop
		defer close(done)
		for {
			if _, err := thief.Next(); err != nil {
				return
			}
		}
	}()
	want := "begin\n"
	for i := 0; !warned.Load(); i++ {
		if i == 20_000 {
			t.Fatal("it was not logged that another process reads messages")
		}
		line := fmt.Sprintf("line %d", i)
		publishStored(t, nc, "logs.a", line)
		want += line + "\n"
	}
	thief.Stop()
	<-done
	publishStored(t, nc, "logs.a", "end")
	waitFor(t, m, n, want+"end\n")
	if count(n.Metrics.reread) == 0 {
		t.Error("nothing was read again")
	}
}

// TestStreamLimits is TestStreamOnce's last part where messages stay in the stream: a consumer that
// begins again delivers everything again.
func TestStreamLimits(t *testing.T) {
	s := natstest.New(t)
	nc := s.Connect()
	js := jetStream(t, nc)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "LOGS", Subjects: []string{"logs.>"}}); err != nil {
		t.Fatal(err)
	}
	m := new(appendertest.Memory)
	n, stop := collector(t, s, m)
	healthy(t, n)
	publishStored(t, nc, "logs.a", "one", "two", strings.Repeat("a\n", 3*wire.MaxCutLines)+"end")
	want := "one\ntwo\n" + strings.Repeat("a\n", 3*wire.MaxCutLines) + "end\n"
	waitFor(t, m, n, want)
	stop()
	if err := js.DeleteConsumer(t.Context(), "LOGS", "fanin"); err != nil {
		t.Fatal(err)
	}
	publishStored(t, nc, "logs.b", "three")
	n, _ = collector(t, s, m)
	waitFor(t, m, n, want+"three\n")
	if got := count(n.Metrics.repeats); got != 3 {
		t.Errorf("%v repeats, want 3", got)
	}
}

// TestStreamExpired: messages that left the stream before they were read are counted, and reported in
// the log.
func TestStreamExpired(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, js jetstream.JetStream){
		"too old": func(t *testing.T, js jetstream.JetStream) { keep(t, js, time.Second); await(t, js, 0); keep(t, js, 0) },
		"removed": func(t *testing.T, js jetstream.JetStream) {
			stream, err := js.Stream(t.Context(), "LOGS")
			for seq := uint64(3); seq <= 5 && err == nil; seq++ {
				err = stream.DeleteMsg(t.Context(), seq)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := natstest.New(t)
			nc, m := s.Connect(), new(appendertest.Memory)
			n, stop := collector(t, s, m)
			healthy(t, n)
			publishStored(t, nc, "logs.a", "one", "two")
			waitFor(t, m, n, "one\ntwo\n")
			await(t, jetStream(t, nc), 0) // acknowledged
			stop()
			// Until then the server may deliver messages to it.
			waittest.UntilEqual(t, "the number of clients", 1, s.NumClients)
			publishStored(t, nc, "logs.a", "three", "four", "five")
			lose(t, jetStream(t, nc))
			publishStored(t, nc, "logs.a", "six")
			n = &Input{Out: m, Plain: PlainOptions{Subjects: []string{"logs.>"}}, Stream: StreamOptions{Name: "LOGS"}}
			var told atomic.Pointer[string]
			n.Notice = func(format string, args ...any) {
				text := fmt.Sprintf(format, args...)
				told.Store(&text)
			}
			serve(t, s, n)
			waitFor(t, m, n, "one\ntwo\nsix\n")
			if got := count(n.Metrics.missed); got != 3 {
				t.Errorf("%d missed, want 3", got)
			}
			if text := told.Load(); text == nil || !strings.Contains(*text, "LOST n=3 unit=messages reason=nats-expired stream=LOGS from=3 to=5") {
				t.Errorf("the log was told %v", text)
			}
		})
	}
}

// keep sets how old a message of the stream may be; 0: of any age.
func keep(t *testing.T, js jetstream.JetStream, age time.Duration) {
	t.Helper()
	stream, err := js.Stream(t.Context(), "LOGS")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxAge = age
	if age > 0 {
		config.Duplicates = age
	}
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// await waits until the stream holds that many messages.
func await(t *testing.T, js jetstream.JetStream, messages int) {
	t.Helper()
	waittest.UntilEqual(t, "the number of messages in the stream", messages, func() int {
		stream, err := js.Stream(t.Context(), "LOGS")
		if err != nil {
			return -1
		}
		return int(stream.CachedInfo().State.Msgs)
	})
}

// TestStreamInChunks: a message that a crash left half committed is completed.
func TestStreamInChunks(t *testing.T) {
	s := natstest.New(t)
	m := new(appendertest.Memory)
	var once atomic.Bool
	m.Before = func(_ context.Context, b wire.Batch) error {
		if b.Op != wire.OpData || len(b.Cuts) == 0 || !once.CompareAndSwap(false, true) {
			return nil
		}
		half, _ := b.Divide(len(b.Cuts) / 2) // the collector is killed when the group before a cut is committed
		if err := m.Append(context.Background(), half); err != nil {
			return err
		}
		return errors.New("killed")
	}
	n, _ := collector(t, s, m)
	healthy(t, n)
	var b strings.Builder
	for i := range 5 * wire.MaxCutLines {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	publishStored(t, s.Connect(), "logs.a", b.String(), "end")
	waitFor(t, m, n, b.String()+"end\n")
	if !once.Load() {
		t.Error("there was no cut")
	}
}

// TestStreamWiped: the store is gone, and the numbers begin again: no new message counts as an old
// one.
func TestStreamWiped(t *testing.T) {
	s := natstest.New(t)
	m := new(appendertest.Memory)
	n, _ := collector(t, s, m)
	healthy(t, n)
	nc := s.Connect()
	publishStored(t, nc, "logs.a", "one", "two", "three")
	waitFor(t, m, n, "one\ntwo\nthree\n")
	if err := jetStream(t, nc).DeleteStream(t.Context(), "LOGS"); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the stream to be created again", func() bool {
		_, err := jetStream(t, nc).Stream(t.Context(), "LOGS")
		return err == nil
	})
	publishStored(t, nc, "logs.a", "four")
	waitFor(t, m, n, "one\ntwo\nthree\nfour\n")
}

// TestStreamAbandoned: a batch that waits for the budget when a shutdown is abandoned stays in the
// stream, and the next process commits it.
func TestStreamAbandoned(t *testing.T) {
	s := natstest.New(t)
	m := &appendertest.Memory{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	start := func(room *ingest.Budget) *Input {
		n := &Input{Out: m, Welcome: m.Welcome, Budget: room, Agents: AgentOptions{Subjects: "fanin"}, Stream: StreamOptions{Name: "LOGS", Create: true}, Plain: PlainOptions{Subjects: []string{"logs.>"}}}
		serve(t, s, n)
		healthy(t, n)
		return n
	}
	n := start(&ingest.Budget{Limit: 1 << 20})
	held, err := n.Budget.Acquire(t.Context(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	b := wire.Batch{Stream: wire.StreamID{1}, Epoch: 1, End: 2, Text: []byte("x\n")}
	open := b
	open.Op, open.End, open.Source, open.Text = wire.OpOpen, 0, "x", nil
	js := jetStream(t, s.Connect())
	for _, message := range [][]byte{wire.AppendBatch(helloOf("a"), &open, 0, nil), append(wire.AppendBatch(helloOf("a"), &b, 0, b.Text), b.Text...)} {
		if _, err := js.Publish(t.Context(), n.Agents.Subjects.Batch("a"), message); err != nil {
			t.Fatal(err)
		}
	}
	waittest.Until(t, "a batch that waits for the budget", func() bool { return n.Budget.Stalled() > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := n.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	n.life.Shutdown(t.Context())
	n.Budget.Release(held)
	if got := string(m.Text(b.Stream)); got != "" {
		t.Errorf("committed without the budget: %q", got)
	}
	start(nil)
	waittest.UntilEqual(t, "the log", "x\n", func() string { return string(m.Text(b.Stream)) })
}

// TestStreamRefused: a stream or consumer that would lose messages silently is refused, with the
// remedy.
func TestStreamRefused(t *testing.T) {
	for word, c := range map[string]struct {
		stream   jetstream.StreamConfig
		consumer *jetstream.ConsumerConfig
	}{
		"--discard=new":                 {stream: jetstream.StreamConfig{MaxMsgs: 10}},
		"--discard=new ":                {stream: jetstream.StreamConfig{MaxBytes: 1 << 20}},
		"--max-msgs-per-subject":        {stream: jetstream.StreamConfig{MaxMsgsPerSubject: 1}},
		"--max-age":                     {stream: jetstream.StreamConfig{MaxAge: time.Minute}},
		"ack policy":                    {consumer: &jetstream.ConsumerConfig{Durable: "fanin", AckPolicy: jetstream.AckNonePolicy}},
		"silently drops messages after": {consumer: &jetstream.ConsumerConfig{Durable: "fanin", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 3}},
		"headers only":                  {consumer: &jetstream.ConsumerConfig{Durable: "fanin", AckPolicy: jetstream.AckExplicitPolicy, HeadersOnly: true}},
	} {
		t.Run(word, func(t *testing.T) {
			s := natstest.New(t)
			js := jetStream(t, s.Connect())
			c.stream.Name, c.stream.Subjects = "LOGS", []string{"logs.>"}
			if _, err := js.CreateStream(t.Context(), c.stream); err != nil {
				t.Fatal(err)
			}
			if c.consumer != nil {
				if _, err := js.CreateConsumer(t.Context(), "LOGS", *c.consumer); err != nil {
					t.Fatal(err)
				}
			}
			n, _ := collector(t, s, ingesttest.NewRecorder())
			troubled(t, n, strings.TrimSpace(word))
		})
	}
	t.Run("does not exist", func(t *testing.T) {
		s := natstest.New(t)
		n := &Input{Out: ingesttest.NewRecorder(), Plain: PlainOptions{Subjects: []string{"logs.>"}}, Stream: StreamOptions{Name: "LOGS"}}
		serve(t, s, n)
		troubled(t, n, "does not exist: set create = true")
	})
	t.Run("no JetStream", func(t *testing.T) {
		s := natstest.New(t, func(o *server.Options) { o.JetStream = false })
		n, _ := collector(t, s, ingesttest.NewRecorder())
		troubled(t, n, "JetStream")
	})
}
