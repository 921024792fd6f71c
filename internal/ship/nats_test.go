package ship

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	natsin "fanin/ingest/nats"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natsconn"
	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// collectNATS runs the real input over a log in memory.
func collectNATS(t *testing.T, s *natstest.Server, change ...func(*natsin.Input)) (*appendertest.Memory, *natsin.Input) {
	t.Helper()
	m := &appendertest.Memory{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	n := &natsin.Input{Conn: s.Connect(), Out: m, Welcome: m.Welcome, Agents: natsin.AgentOptions{Subjects: "fanin"}}
	for _, f := range change {
		f(n)
	}
	done := make(chan struct{})
	go func() { n.Serve(); close(done) }() // ended by the cleanup
	t.Cleanup(func() { n.Shutdown(bounded(t)); <-done })
	return m, n
}

func throughStream(n *natsin.Input) { n.Stream.Name, n.Stream.Create = "BATCHES", true }

// connectNATS runs an agent's side.
func connectNATS(t *testing.T, s *natstest.Server, change ...func(*NATS)) *NATS {
	t.Helper()
	n := &NATS{Login: natsconn.Login{URL: s.ClientURL()}, Hello: wire.Hello{Agent: "web.example.com", Instance: wire.NewStreamID(), Run: 1},
		Timing: Timing{MinBackoff: time.Millisecond, MaxBackoff: 50 * time.Millisecond}}
	for _, f := range change {
		f(n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }() // ended by the cleanup
	t.Cleanup(func() { cancel(); <-done })
	return n
}

func viaStream(n *NATS) { n.Stream = "BATCHES" }

func TestAppenderOverNATS(t *testing.T) {
	s := natstest.New(t)
	count := 0
	appendertest.Run(t, func(t *testing.T) wire.Appender {
		count++
		p := natsconn.Subjects(fmt.Sprintf("fanin%d", count))
		m, _ := collectNATS(t, s, func(n *natsin.Input) { n.Agents.Subjects = p })
		return appendertest.Observe(connectNATS(t, s, func(n *NATS) { n.Subject = p }), m)
	})
}

func TestAppenderOverJetStream(t *testing.T) {
	s := natstest.New(t)
	count := 0
	appendertest.Run(t, func(t *testing.T) wire.Appender {
		count++
		p := natsconn.Subjects(fmt.Sprintf("fanin%d", count))
		stream := fmt.Sprintf("BATCHES%d", count)
		m, _ := collectNATS(t, s, throughStream, func(n *natsin.Input) { n.Agents.Subjects, n.Stream.Name = p, stream })
		return appendertest.Observe(connectNATS(t, s, func(n *NATS) { n.Subject, n.Stream = p, stream }), m)
	})
}

func openNATS(t *testing.T, n *NATS) wire.StreamID {
	t.Helper()
	id := wire.NewStreamID()
	if err := n.Append(bounded(t), wire.Batch{Op: wire.OpOpen, Stream: id, Epoch: 1, Source: "app"}); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestNATSRestart: a server that goes and comes back loses nothing of what was
// acknowledged. The rest is committed when it is sent again.
func TestNATSRestart(t *testing.T) {
	for name, change := range map[string]struct {
		collector []func(*natsin.Input)
		agent     []func(*NATS)
	}{"core": {}, "stream": {[]func(*natsin.Input){throughStream}, []func(*NATS){viaStream}}} {
		t.Run(name, func(t *testing.T) {
			s := natstest.New(t)
			m, _ := collectNATS(t, s, change.collector...)
			n := connectNATS(t, s, change.agent...)
			id := openNATS(t, n)
			want, at, before := "", int64(0), wire.Hash(0)
			for i := range 20 {
				if i%5 == 4 {
					s.Stop()
					s.Start()
				}
				text := fmt.Sprintf("line %d\n", i)
				want += text
				b := wire.Batch{Stream: id, Epoch: 1, Offset: at, End: at + int64(len(text)), Before: before, After: wire.TailHash([]byte(want)), Text: []byte(text)}
				for {
					ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
					err := n.Append(ctx, b)
					cancel()
					if err == nil {
						break
					}
					if errors.Is(err, wire.ErrRefused) || errors.As(err, new(*wire.Expected)) || errors.Is(err, context.DeadlineExceeded) {
						t.Fatal(err)
					}
				}
				at, before = b.End, b.After
			}
			if got := string(m.Text(id)); got != want {
				t.Errorf("kept %q, want %q", got, want)
			}
		})
	}
}

// TestNATSNoCollector: the trouble names the cause.
func TestNATSNoCollector(t *testing.T) {
	s := natstest.New(t)
	n := connectNATS(t, s)
	troubled(t, n, "no collector listens")
	s.Stop()
	waittest.Until(t, "trouble with the server", func() bool {
		return strings.Contains(n.Trouble(), "refused") || strings.Contains(n.Trouble(), "lost")
	})
}

// TestNATSUnknown: a batch that waits for its answer when the server stops has an unknown
// outcome, and never counts as committed.
func TestNATSUnknown(t *testing.T) {
	for name, change := range map[string]struct {
		collector []func(*natsin.Input)
		agent     []func(*NATS)
	}{"core": {}, "stream": {[]func(*natsin.Input){throughStream}, []func(*NATS){viaStream}}} {
		t.Run(name, func(t *testing.T) {
			s := natstest.New(t)
			m, _ := collectNATS(t, s, change.collector...)
			begun, hold := make(chan struct{}, 100), make(chan struct{})
			n := connectNATS(t, s, change.agent...)
			id := openNATS(t, n)
			m.Before = func(ctx context.Context, b wire.Batch) error {
				begun <- struct{}{}
				<-hold
				return errors.New("not kept")
			}
			outcome := make(chan error, 1)
			go func() { // ended by Stop
				outcome <- n.Append(t.Context(), wire.Batch{Stream: id, Epoch: 1, End: 2, After: wire.TailHash([]byte("x\n")), Text: []byte("x\n")})
			}()
			<-begun
			s.Stop()
			if err := <-outcome; err == nil || errors.Is(err, wire.ErrRefused) || errors.As(err, new(*wire.Expected)) {
				t.Errorf("the outcome is %v", err)
			}
			close(hold)
		})
	}
}

// TestAckStreamRevoked: with ack = "stream", an answer of the collector that contradicts the
// stream's acknowledgement counts, although no batch waits for it: from then on this stream of the
// agent waits for the collector.
func TestAckStreamRevoked(t *testing.T) {
	s := natstest.New(t)
	m, _ := collectNATS(t, s, throughStream)
	var lost atomic.Bool
	m.Before = func(_ context.Context, b wire.Batch) error {
		if b.Op == wire.OpData && lost.CompareAndSwap(false, true) {
			return &wire.Expected{Known: true, Watermark: wire.Watermark{Epoch: 1}}
		}
		return nil
	}
	n := connectNATS(t, s, viaStream, func(n *NATS) {
		n.Ack, n.Known = "stream", func() wire.Welcome { return wire.Welcome{} }
	})
	id := openNATS(t, n)
	first, second := []byte("one\n"), []byte("one\ntwo\n")
	// The collector's answer may come before the stream's: then the session has ended, and the
	// outcome is unknown.
	err := n.Append(bounded(t), wire.Batch{Stream: id, Epoch: 1, End: 4, After: wire.TailHash(first), Text: first})
	if errors.Is(err, wire.ErrRefused) || errors.As(err, new(*wire.Expected)) {
		t.Fatal(err)
	}
	waittest.Until(t, "the stream to need commit acks", func() bool { return n.acks.needs(id) })
	b := wire.Batch{Stream: id, Epoch: 1, Offset: 4, Before: wire.TailHash(first), End: 8, After: wire.TailHash(second), Text: second[4:]}
	err = n.Append(bounded(t), b)
	for err != nil && !errors.As(err, new(*wire.Expected)) && bounded(t).Err() == nil { // a session may have ended
		err = n.Append(bounded(t), b)
	}
	if err == nil {
		t.Error("lines behind a gap count as sent")
	}
}

// TestBeyond: a collector whose stream is at the end of a batch, or further, has it.
func TestBeyond(t *testing.T) {
	token := pushedToken(7, &wire.Batch{Epoch: 3, End: 500})
	for _, c := range []struct {
		known  bool
		epoch  uint32
		offset int64
		want   bool
	}{{true, 3, 500, true}, {true, 3, 501, true}, {true, 4, 0, true}, {true, 3, 499, false}, {true, 2, 900, false}, {false, 4, 0, false}} {
		e := &wire.Expected{Known: c.known, Watermark: wire.Watermark{Epoch: c.epoch, Point: wire.Point{Offset: c.offset}}}
		if got := beyond(token, e); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if beyond("p7-x", &wire.Expected{Known: true, Watermark: wire.Watermark{Epoch: 9}}) {
		t.Error("a foreign token")
	}
}

// TestNATSForbidden: a permission that the server denies is reported with its subject. That the
// agent cannot answer requests keeps no lines.
func TestNATSForbidden(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	deny := func(subjects ...string) *server.SubjectPermission { return &server.SubjectPermission{Deny: subjects} }
	for name, c := range map[string]struct {
		forbidden server.Permissions
		word      string
	}{
		"hello":   {server.Permissions{Publish: deny("fanin.agent.>")}, "forbids this user to publish to fanin.agent.web/example/com"},
		"answers": {server.Permissions{Subscribe: deny("fanin.answer.>")}, "forbids this user to subscribe to fanin.answer.web/example/com.s"},
		"batches": {server.Permissions{Publish: deny("fanin.log.>")}, "forbids this user to publish to fanin.log."},
		"service": {server.Permissions{Subscribe: deny("$SRV.>")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := natstest.New(t, func(o *server.Options) {
				o.Users = []*server.User{{Username: "c", Password: "c"}, {Username: "a", Password: "a", Permissions: &c.forbidden}}
				o.NoAuthUser = "c"
			})
			m, _ := collectNATS(t, s)
			n := connectNATS(t, s, func(n *NATS) {
				n.Login.User, n.Login.PasswordFile = "a", password
				n.Connected = func(nc *nats.Conn) { nc.SubscribeSync("$SRV.PING") }
				n.PingEvery = 50 * time.Millisecond
			})
			if c.word == "" {
				id := openNATS(t, n)
				if err := n.Append(bounded(t), line(id, "kept\n")); err != nil || string(m.Text(id)) != "kept\n" {
					t.Errorf("kept %q, %v", m.Text(id), err)
				}
				return
			}
			troubled(t, n, c.word)
		})
	}
}

// TestNATSOutage: an outage is logged once, whichever server of a cluster is tried. The trouble
// is the latest reason.
func TestNATSOutage(t *testing.T) {
	var said strings.Builder
	n := &NATS{Login: natsconn.Login{URL: "nats://a,nats://b"}, Log: slog.New(slog.NewTextHandler(&said, nil))}
	for i := range 4 {
		n.unreachable(nil, fmt.Errorf("server %d is away", i%2))
	}
	if got := strings.Count(said.String(), "no connection"); got != 1 {
		t.Errorf("logged %d times:\n%s", got, said.String())
	}
	if got := n.Trouble(); !strings.Contains(got, "server 1 is away") {
		t.Errorf("trouble is %q", got)
	}
}

// TestAckStream: with ack = "stream" lines count as sent when the stream has them, with or without
// a collector, and a collector that starts later gets them in order. What the stream lost is sent
// again.
func TestAckStream(t *testing.T) {
	s := natstest.New(t)
	m := &appendertest.Memory{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	serve := func() (stop func()) {
		n := &natsin.Input{Conn: s.Connect(), Out: m, Welcome: m.Welcome, Agents: natsin.AgentOptions{Subjects: "fanin"}, Stream: natsin.StreamOptions{Name: "BATCHES", Create: true}}
		done := make(chan struct{})
		go func() { n.Serve(); close(done) }() // ended by stop
		waittest.UntilEqual(t, "the input's trouble", "", n.Trouble)
		return func() { n.Shutdown(bounded(t)); <-done }
	}
	serve()() // makes the stream
	welcomes, maxTexts := make(chan wire.Welcome, 100), make(chan int, 100)
	n := connectNATS(t, s, viaStream, func(n *NATS) {
		n.Ack, n.GreetWithin, n.PingEvery = "stream", 200*time.Millisecond, 50*time.Millisecond
		n.Known = func() wire.Welcome { return wire.Welcome{} }
		n.OnWelcome = func(w wire.Welcome, maxText int) { welcomes <- w; maxTexts <- maxText }
	})
	id, want := openNATS(t, n), ""
	if w, maxText := <-welcomes, <-maxTexts; !w.Log.IsZero() || maxText == 0 {
		t.Fatalf("without a collector, the welcome is %+v, with %d bytes of text", w, maxText)
	}
	at := wire.Point{}
	send := func(text string) {
		raw := want + text
		b := wire.Batch{Stream: id, Epoch: 1, Offset: at.Offset, Before: at.Tail, End: int64(len(raw)), After: wire.TailHash([]byte(raw)), Text: []byte(text)}
		if err := n.Append(bounded(t), b); err != nil {
			t.Fatal(err)
		}
		at, want = wire.Point{Offset: b.End, Tail: b.After}, raw
	}
	for i := range 20 {
		send(fmt.Sprintf("line %d\n", i))
	}
	if n.Trouble() != "" || len(m.Text(id)) > 0 {
		t.Fatalf("trouble %q, kept %q without a collector", n.Trouble(), m.Text(id))
	}
	stop := serve()
	await := func() {
		t.Helper()
		if err := m.Until(bounded(t), func() bool { return string(m.Text(id)) == want }); err != nil {
			t.Fatalf("kept %q, want %q", m.Text(id), want)
		}
	}
	await()
	for w := range welcomes { // the collector is back, and is heard
		if w.Log == m.Log {
			break
		}
	}
	send("with a collector\n")
	await()

	// The stream loses what it took while the collector was away.
	stop()
	for w := range welcomes {
		if w.Log.IsZero() {
			break
		}
	}
	lost := at
	send("lost 1\n")
	send("lost 2\n")
	nc := s.Connect()
	if _, err := nc.Request("$JS.API.STREAM.PURGE.BATCHES", nil, time.Second); err != nil {
		t.Fatal(err)
	}
	send("not lost\n")
	stop = serve()
	defer stop()
	for w := range welcomes {
		if w.Log == m.Log {
			break
		}
	}
	for end := time.Now().Add(10 * time.Second); ; {
		err := n.Append(bounded(t), wire.Batch{Op: wire.OpOpen, Stream: id, Epoch: 1, Offset: at.Offset, End: at.Offset, Before: at.Tail, After: at.Tail, Source: "app"})
		var expected *wire.Expected
		if errors.As(err, &expected) {
			if !expected.Known || expected.Point != lost {
				t.Fatalf("the collector's watermark is %+v, want %+v", expected, lost)
			}
			break
		}
		if err == nil || time.Now().After(end) {
			t.Fatalf("%v: want the collector's watermark", err)
		}
	}
}

// TestSmallPayload: batches fit into the server's max_payload. A server that accepts next to
// nothing is refused with the reason.
func TestSmallPayload(t *testing.T) {
	s := natstest.New(t, func(o *server.Options) { o.MaxPayload = 64 << 10 })
	m, _ := collectNATS(t, s)
	maxTexts := make(chan int, 100)
	n := connectNATS(t, s, func(n *NATS) {
		n.Compress = "none"
		n.OnWelcome = func(_ wire.Welcome, maxText int) { maxTexts <- maxText }
	})
	maxText := <-maxTexts
	if maxText < 60<<10 || maxText > 64<<10 {
		t.Fatalf("%d bytes of text for 64 KiB", maxText)
	}
	id := openNATS(t, n)
	b := line(id, strings.Repeat("x", maxText-1)+"\n")
	if err := n.Append(bounded(t), b); err != nil {
		t.Fatal(err)
	}
	if len(m.Text(id)) != maxText {
		t.Errorf("%d bytes kept", len(m.Text(id)))
	}
	next := b
	next.Offset, next.Before, next.End, next.Text = b.End, b.After, b.End+100_000, []byte(strings.Repeat("x", 99_999)+"\n")
	if err := n.Append(bounded(t), next); err == nil || !strings.Contains(err.Error(), "max_payload") || errors.Is(err, wire.ErrRefused) {
		t.Errorf("too much: %v", err)
	}
	tiny := natstest.New(t, func(o *server.Options) { o.MaxPayload = 2 << 10; o.JetStream = false })
	collectNATS(t, tiny)
	n = connectNATS(t, tiny)
	troubled(t, n, "max_payload is 2048 bytes")
}

// TestStreamFull: a full stream is reported, the lines wait, and they are sent when it has space.
func TestStreamFull(t *testing.T) {
	s := natstest.New(t)
	nc := s.Connect()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	config := jetstream.StreamConfig{Name: "BATCHES", Subjects: []string{"fanin.batch.*"}, Discard: jetstream.DiscardNew, MaxBytes: 4 << 10, Retention: jetstream.WorkQueuePolicy}
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	m, _ := collectNATS(t, s, throughStream)
	n := connectNATS(t, s, viaStream, func(n *NATS) { n.Compress = "none" })
	id := openNATS(t, n)
	b := line(id, strings.Repeat("x", 8<<10)+"\n")
	if err := n.Append(bounded(t), b); err == nil || !strings.Contains(err.Error(), "is full, and its lines wait") {
		t.Fatalf("got %v", err)
	}
	config.MaxBytes = 1 << 20
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if err := n.Append(bounded(t), b); err != nil {
		t.Fatal(err)
	}
	if len(m.Text(id)) != 8<<10+1 {
		t.Errorf("%d bytes kept", len(m.Text(id)))
	}
}

var update = flag.Bool("update", false, "write testdata/*.golden again: that changes the protocol for every peer")

// TestNATSGolden pins what is sent over NATS: the subjects, and each message as a hello and one
// frame behind it.
func TestNATSGolden(t *testing.T) {
	hello := wire.Hello{Version: wire.Version, Agent: "web.example.com", Instance: wire.StreamID{1, 2, 3}, Run: 7, Host: "web", Software: "fanin-agent 1.0.0"}
	n := &NATS{Subject: "fanin", Hello: hello, hello: wire.AppendHello(nil, hello), encoder: newEncoder("none", false)}
	s := &natsSession{n: n, where: "s1"}
	b := wire.Batch{Stream: wire.StreamID{9}, Epoch: 2, Offset: 100, Before: 11, End: 108, After: 12, Time: 1700000000000000, Text: []byte("one\ntwo\n")}
	log := wire.StreamID{0xab}
	var got strings.Builder
	for _, m := range []struct {
		what, subject, answer string
		data                  []byte
	}{
		{"a greeting", n.Subject.Hello(hello.Agent), s.answerTo(helloToken), n.hello},
		{"a batch, asked directly", n.Subject.Log(log, hello.Agent), s.answerTo("1"), s.message(&b)},
		{"a batch, through a stream; where its answer goes is in the header " + natsconn.HeaderAnswer, n.Subject.Batch(hello.Agent), "s1." + pushedToken(1, &b), s.message(&b)},
		{"a ping", n.Subject.Log(log, hello.Agent), s.answerTo("ping"), wire.AppendPing(bytes.Clone(n.hello), wire.KindPing, 5)},
	} {
		fmt.Fprintf(&got, "# %s\n%s -> %s\n%s\n", m.what, m.subject, m.answer, hex.Dump(m.data))
	}
	const path = "testdata/nats.golden"
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("what is sent over NATS has changed:\n%s\nwant\n%s", got.String(), want)
	}
}

// troubled waits until the trouble contains a word.
func troubled(t *testing.T, x interface{ Trouble() string }, word string) {
	t.Helper()
	var got string
	defer func() {
		if t.Failed() {
			t.Logf("the trouble is %q", got)
		}
	}()
	waittest.Until(t, "trouble with "+word, func() bool {
		got = x.Trouble()
		return strings.Contains(got, word)
	})
}

// TestNATSConnectionEnds: a session without a collector cannot begin on a connection that has
// ended meanwhile.
func TestNATSConnectionEnds(t *testing.T) {
	nc := natstest.New(t).Connect()
	n := &NATS{Ack: "stream", Hello: wire.Hello{Agent: "a"}}
	n.defaults()
	if _, err := nc.Subscribe(n.Subject.Hello("a"), func(*nats.Msg) { nc.Close() }); err != nil { // no answer
		t.Fatal(err)
	}
	n.GreetWithin = 100 * time.Millisecond
	if welcomed, err := n.connect(t.Context(), nc); welcomed || err == nil {
		t.Errorf("welcomed: %v, error %v", welcomed, err)
	}
}

// TestHelloAgain: a hello that nothing answers is sent again soon, and what is said of the first one
// after that is of no concern.
func TestHelloAgain(t *testing.T) {
	nc := natstest.New(t).Connect()
	n := &NATS{Hello: wire.Hello{Agent: "a"}, Timing: Timing{GreetWithin: time.Minute}}
	n.defaults()
	welcome := func(log byte) []byte { return wire.AppendWelcome(nil, wire.Welcome{Log: wire.StreamID{log}}) }
	var first string
	answer := func(m *nats.Msg) {
		if first == "" {
			first = m.Reply
			return
		}
		for _, x := range []struct {
			to    string
			frame []byte
		}{{first, wire.AppendFault(nil, "the agent came again", 0)}, {first, welcome(1)}, {m.Reply, welcome(2)}, {first, wire.AppendDrain(nil)}} {
			if err := nc.Publish(x.to, x.frame); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := nc.Subscribe(n.Subject.Hello("a"), answer); err != nil {
		t.Fatal(err)
	}
	s, err := n.newSession(nc)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w, err := s.greet(ctx)
	if want := (wire.StreamID{2}); err != nil || w.Log != want {
		t.Fatalf("welcomed by %v, error %v", w.Log, err)
	}
	if err := nc.Publish(s.answerTo("hello2"), wire.AppendFault(nil, "the end", 0)); err != nil { // behind what was said of the first one
		t.Fatal(err)
	}
	select {
	case <-s.closed:
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	if !strings.Contains(s.err.Error(), "the end") || s.drained() {
		t.Errorf("the session ended with %v, drained %v", s.err, s.drained())
	}
}
