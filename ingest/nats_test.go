package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natstest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// serveNATS serves n until stop is called, at the latest when the test ends.
func serveNATS(t testing.TB, s *natstest.Server, n *NATS) (stop func()) {
	t.Helper()
	n.setUp()
	n.Conn = s.Connect(nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { n.Refused(err) }), nats.ReconnectErrHandler(n.Unreachable),
		nats.ConnectHandler(func(nc *nats.Conn) { n.Unreachable(nc, nil) }), nats.ReconnectHandler(func(nc *nats.Conn) { n.Unreachable(nc, nil) }))
	served := make(chan error, 1)
	go func() { served <- n.Serve() }() // ended by stop
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := n.Shutdown(ctx); err != nil && !t.Failed() {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
		if used := n.Room.Used(); used != 0 {
			t.Errorf("%d bytes of room were not given back", used)
		}
		n.Conn.Close()
	})
	t.Cleanup(stop)
	return stop
}

// quiet waits until nothing is in trouble.
func quiet(t testing.TB, n *NATS) {
	t.Helper()
	troubled(t, n, "")
}

// troubled waits for a word about trouble; "": there is none.
func troubled(t testing.TB, n *NATS, word string) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(time.Millisecond) {
		got := n.Trouble()
		if word == "" && got == "" || word != "" && strings.Contains(got, word) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("trouble is %q, want %q", got, word)
		}
	}
}

func publish(t testing.TB, nc *nats.Conn, subject string, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := nc.Publish(subject, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

func jetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func publishStored(t testing.TB, nc *nats.Conn, subject string, messages ...string) {
	t.Helper()
	js := jetStream(t, nc)
	for _, m := range messages {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if _, err := js.Publish(ctx, subject, []byte(m)); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
}

// sources are the lines of batches by their source, with the cuts' taken into
// account, as the keeper would name them.
func sources(batches []wire.Batch) map[string]string {
	by := make(map[string]string)
	for _, b := range batches {
		source, at := b.Source, 0
		for _, c := range append(b.Cuts, wire.Cut{Text: len(b.Text)}) {
			by[source] += string(b.Text[at:c.Text])
			at = c.Text
			if c.Source != "" {
				source = c.Source
			}
		}
	}
	return by
}

// TestPlainNATS: messages become lines, their subjects sources, each source's in
// order; and what Fluent Bit sends becomes a line for each record.
func TestPlainNATS(t *testing.T) {
	s := natstest.New(t)
	k := newKeeper()
	n := &NATS{Out: k, Subjects: []string{"logs.>"}, MaxLine: 300}
	serveNATS(t, s, n)
	quiet(t, n)
	nc := s.Connect()
	publish(t, nc, "logs.web", "hello", "two\nlines\n", "", "\n")
	publish(t, nc, "logs.fb.app", `[[1700000000.25,{"log":"one", "n":1}],[1700000001,{}]]`)
	publish(t, nc, "logs.web", strings.Repeat("x", 400), "[[not, json")
	publish(t, nc, "other", "not ours")
	_, batches := k.wait(t, func(text string, _ []wire.Batch) bool { return strings.Contains(text, "not, json") })
	by := sources(batches)
	if want := `{"date":1700000000.25,"log":"one","n":1}` + "\n" + `{"date":1700000001}` + "\n"; by["logs.fb.app"] != want {
		t.Errorf("Fluent Bit's records are %q, want %q", by["logs.fb.app"], want)
	}
	web := by["logs.web"]
	if !strings.HasPrefix(web, "hello\ntwo\nlines\n") || !strings.HasSuffix(web, "[[not, json\n") || strings.Count(web, wire.SplitMark) != 1 {
		t.Errorf("the lines are %q", web)
	}
	if by["other"] != "" {
		t.Error("another subject's message was taken")
	}
}

// TestPlainNATSQueue: two of a queue group share the messages.
func TestPlainNATSQueue(t *testing.T) {
	s := natstest.New(t)
	k := newKeeper()
	for range 2 {
		n := &NATS{Out: k, Subjects: []string{"logs"}, Queue: "g"}
		serveNATS(t, s, n)
		quiet(t, n)
	}
	nc := s.Connect()
	for i := range 100 {
		publish(t, nc, "logs", fmt.Sprintf("line %d", i))
	}
	publish(t, nc, "logs", "end")
	text, _ := k.wait(t, func(text string, _ []wire.Batch) bool { return strings.Count(text, "\n") >= 101 })
	if got := strings.Count(text, "\n"); got != 101 {
		t.Errorf("%d lines, want 101", got)
	}
}

// TestNATSDrops: what comes faster than it can be kept is counted, exactly.
func TestNATSDrops(t *testing.T) {
	s := natstest.New(t)
	k := newKeeper()
	hold := make(chan struct{})
	k.outcome = func(context.Context, wire.Batch) error { <-hold; return nil }
	var notice atomic.Pointer[string]
	n := &NATS{Out: k, Subjects: []string{"logs"}, Pending: 64 << 10, Notice: func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		notice.Store(&text)
	}}
	stop := serveNATS(t, s, n)
	quiet(t, n)
	const sent = 1000
	nc := s.Connect()
	for i := range sent {
		publish(t, nc, "logs", fmt.Sprintf("%04d %s", i, strings.Repeat("x", 1000)))
	}
	for n.Conn.Stats().InMsgs < sent {
		time.Sleep(time.Millisecond)
	}
	close(hold)
	stop()
	dropped := count(n.Metrics.natsDrops)
	if got := strings.Count(k.kept(), "\n"); got+dropped != sent || dropped == 0 {
		t.Errorf("%d kept and %d dropped of %d", got, dropped, sent)
	}
	if text := notice.Load(); text == nil || !strings.Contains(*text, "LOST n=") {
		t.Errorf("the log was told %v", text)
	}
}

// collector is a NATS over a Memory, to be stopped as a crash would.
func collector(t testing.TB, s *natstest.Server, m wire.Appender) (*NATS, func()) {
	n := &NATS{Out: m, Subjects: []string{"logs.>"}, Stream: "LOGS", Create: true}
	return n, serveNATS(t, s, n)
}

// text is all that a Memory has of plain messages of a stream.
func text(m *appendertest.Memory, n *NATS) string { return string(m.Text(newPlace(n).Stream)) }

func waitFor(t testing.TB, m *appendertest.Memory, n *NATS, want string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); text(m, n) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("there is %.300q, want %.300q", text(m, n), want)
		}
	}
}

// TestStreamOnce: whatever happens to a delivery, its lines are kept once, in the
// stream's order: the acknowledgement is lost, the process ends with messages that
// it took and did not keep, and newer ones are there when the next one begins.
func TestStreamOnce(t *testing.T) {
	s := natstest.New(t)
	m := new(appendertest.Memory)
	n, stop := collector(t, s, m)
	quiet(t, n)
	nc := s.Connect()
	want := ""
	say := func(from, to int) {
		for i := from; i < to; i++ {
			line := fmt.Sprintf("line %d", i)
			publishStored(t, nc, fmt.Sprintf("logs.app%d", i%3), line)
			want += line + "\n"
		}
	}
	say(0, 50)
	waitFor(t, m, n, want)
	stop()

	// A process that keeps some and acknowledges none, and takes more than it keeps.
	taken, err := jetStream(t, nc).Consumer(t.Context(), "LOGS", "fanin")
	if err != nil {
		t.Fatal(err)
	}
	say(50, 80)
	batch, err := taken.Fetch(20)
	if err != nil {
		t.Fatal(err)
	}
	for range batch.Messages() {
	}
	say(80, 100)
	n, stop = collector(t, s, m)
	waitFor(t, m, n, want)
	if got := count(n.Metrics.natsReread); got < 20 {
		t.Errorf("%v messages were read by number, want 20 at least", got)
	}
	stop()

	// The stream forgets its consumer: everything comes again.
	if err := jetStream(t, nc).DeleteConsumer(t.Context(), "LOGS", "fanin"); err != nil {
		t.Fatal(err)
	}
	say(100, 110)
	n, _ = collector(t, s, m)
	waitFor(t, m, n, want)
}

// TestStreamLimits is TestStreamOnce's last part where messages stay in the stream:
// a consumer that begins anew is given everything again.
func TestStreamLimits(t *testing.T) {
	s := natstest.New(t)
	nc := s.Connect()
	js := jetStream(t, nc)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "LOGS", Subjects: []string{"logs.>"}}); err != nil {
		t.Fatal(err)
	}
	m := new(appendertest.Memory)
	n, stop := collector(t, s, m)
	quiet(t, n)
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
	if got := count(n.Metrics.natsRepeats); got != 3 {
		t.Errorf("%v repeats, want 3", got)
	}
}

// TestStreamExpired: messages that a stream let go before anybody took them are
// counted, and the log is told.
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
			quiet(t, n)
			publishStored(t, nc, "logs.a", "one", "two")
			waitFor(t, m, n, "one\ntwo\n")
			await(t, jetStream(t, nc), 0) // acknowledged
			stop()
			for s.NumClients() > 1 { // until then it might be given some
				time.Sleep(time.Millisecond)
			}
			publishStored(t, nc, "logs.a", "three", "four", "five")
			lose(t, jetStream(t, nc))
			publishStored(t, nc, "logs.a", "six")
			n = &NATS{Out: m, Subjects: []string{"logs.>"}, Stream: "LOGS"}
			var told atomic.Pointer[string]
			n.Notice = func(format string, args ...any) {
				text := fmt.Sprintf(format, args...)
				told.Store(&text)
			}
			serveNATS(t, s, n)
			waitFor(t, m, n, "one\ntwo\nsix\n")
			if got := count(n.Metrics.natsMissed); got != 3 {
				t.Errorf("%d missed, want 3", got)
			}
			if text := told.Load(); text == nil || !strings.Contains(*text, "LOST n=3 unit=messages reason=nats-expired stream=LOGS from=3 to=5") {
				t.Errorf("the log was told %v", text)
			}
		})
	}
}

// keep sets how old a message of the stream may be; 0: as old as it likes.
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

// await waits until the stream holds so many messages.
func await(t *testing.T, js jetstream.JetStream, messages uint64) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		stream, err := js.Stream(t.Context(), "LOGS")
		if err == nil && stream.CachedInfo().State.Msgs == messages {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the stream does not come to hold %d messages: %v", messages, err)
		}
	}
}

// TestStreamInPieces: a message that a crash left half kept is completed.
func TestStreamInPieces(t *testing.T) {
	s := natstest.New(t)
	m := new(appendertest.Memory)
	var once atomic.Bool
	m.Before = func(_ context.Context, b wire.Batch) error {
		if b.Op != wire.OpData || len(b.Cuts) == 0 || !once.CompareAndSwap(false, true) {
			return nil
		}
		half := b // the collector is killed when the group before a cut is committed
		c := b.Cuts[len(b.Cuts)/2]
		half.Text, half.Cuts, half.End, half.After = b.Text[:c.Text], b.Cuts[:len(b.Cuts)/2], c.End, c.After
		if err := m.Append(context.Background(), half); err != nil {
			return err
		}
		return errors.New("killed")
	}
	n, _ := collector(t, s, m)
	quiet(t, n)
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

// TestStreamWiped: the store is gone, and the numbers begin anew: nothing new is
// taken for something old.
func TestStreamWiped(t *testing.T) {
	s := natstest.New(t)
	m := new(appendertest.Memory)
	n, _ := collector(t, s, m)
	quiet(t, n)
	nc := s.Connect()
	publishStored(t, nc, "logs.a", "one", "two", "three")
	waitFor(t, m, n, "one\ntwo\nthree\n")
	if err := jetStream(t, nc).DeleteStream(t.Context(), "LOGS"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := jetStream(t, nc).Stream(t.Context(), "LOGS"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the stream was not made again: ", n.Trouble())
		}
	}
	publishStored(t, nc, "logs.a", "four")
	waitFor(t, m, n, "one\ntwo\nthree\nfour\n")
}

// TestStreamRefused: what would lose messages without a word is not taken part in,
// and the word says what to do.
func TestStreamRefused(t *testing.T) {
	for word, c := range map[string]struct {
		stream   jetstream.StreamConfig
		consumer *jetstream.ConsumerConfig
	}{
		"--discard=new":           {stream: jetstream.StreamConfig{MaxMsgs: 10}},
		"--discard=new ":          {stream: jetstream.StreamConfig{MaxBytes: 1 << 20}},
		"--max-msgs-per-subject":  {stream: jetstream.StreamConfig{MaxMsgsPerSubject: 1}},
		"--max-age":               {stream: jetstream.StreamConfig{MaxAge: time.Minute}},
		"ack policy":              {consumer: &jetstream.ConsumerConfig{Durable: "fanin", AckPolicy: jetstream.AckNonePolicy}},
		"gives messages up after": {consumer: &jetstream.ConsumerConfig{Durable: "fanin", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 3}},
		"headers only":            {consumer: &jetstream.ConsumerConfig{Durable: "fanin", AckPolicy: jetstream.AckExplicitPolicy, HeadersOnly: true}},
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
			n, _ := collector(t, s, newKeeper())
			troubled(t, n, strings.TrimSpace(word))
		})
	}
	t.Run("does not exist", func(t *testing.T) {
		s := natstest.New(t)
		n := &NATS{Out: newKeeper(), Subjects: []string{"logs.>"}, Stream: "LOGS"}
		serveNATS(t, s, n)
		troubled(t, n, "does not exist: say create = true")
	})
	t.Run("no JetStream", func(t *testing.T) {
		s := natstest.New(t, func(o *server.Options) { o.JetStream = false })
		n, _ := collector(t, s, newKeeper())
		troubled(t, n, "JetStream")
	})
}

// TestNATSAbsent: the server is waited for, and what is said is true at any time.
func TestNATSAbsent(t *testing.T) {
	s := natstest.New(t)
	s.Stop()
	k := newKeeper()
	n := &NATS{Out: k, Subjects: []string{"logs.>"}}
	serveNATS(t, s, n)
	troubled(t, n, "not connected: dial tcp 127.0.0.1")
	s.Start()
	quiet(t, n)
	publish(t, s.Connect(), "logs.a", "hello")
	k.waitText(t, "hello\n")
	s.Stop()
	troubled(t, n, "not connected: dial tcp 127.0.0.1")
	s.Start()
	quiet(t, n)
}

// TestNATSOutage: an outage is said once, whichever server of a cluster is tried.
func TestNATSOutage(t *testing.T) {
	var said strings.Builder
	n, nc := &NATS{Log: slog.New(slog.NewTextHandler(&said, nil))}, natstest.New(t).Connect()
	for outage := range 2 {
		n.Unreachable(nc, nats.ErrNoServers)
		for i := range 3 {
			n.Unreachable(nc, fmt.Errorf("server %d is away", i))
		}
		n.Unreachable(nc, nil)
		if got := strings.Count(said.String(), "cannot be reached"); got != outage+1 {
			t.Errorf("outage %d: said %d times\n%s", outage, got, said.String())
		}
	}
}

// TestNATSForbidden: what the server forbids is said in its words.
func TestNATSForbidden(t *testing.T) {
	s := natstest.New(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "c", Password: "c", Permissions: &server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{"logs.>"}}}}}
	})
	n := &NATS{Out: newKeeper(), Subjects: []string{"logs.>"}}
	n.Conn = s.Connect(nats.UserInfo("c", "c"), nats.PermissionErrOnSubscribe(true), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { n.Refused(err) }))
	go n.Serve() // ended by Shutdown
	t.Cleanup(func() { n.Shutdown(context.Background()); n.Conn.Close() })
	troubled(t, n, `Permissions Violation for Subscription to "logs.>"`)
}

func BenchmarkPile(b *testing.B) {
	var p pile
	message := []byte(strings.Repeat("a line of a usual length, with some words in it\n", 1))
	b.SetBytes(int64(len(message)))
	for i := 0; b.Loop(); i++ {
		if !p.fits(len(message)) {
			p.reset()
		}
		p.add("logs.web", message, start(uint64(i+1)), 0)
	}
}

func FuzzFluentLines(f *testing.F) {
	for _, m := range []string{`[[1700000000.25,{"log":"one"}],[1,{}]]`, `[[1,{"a":"b\nc"}]]`, "[]", "[[", "[[1,2]]", `[["x",{}]]`, " [ [1 , { \"a\" : [1, {}] } ] ]", "text", `[[1,{"a":1}]] `} {
		f.Add([]byte(m))
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		lines := plainLines(m)
		if lines != nil && lines[len(lines)-1] != '\n' {
			t.Fatalf("%q has no newline at its end", lines)
		}
		n, whole := 0, 0
		for piece := range pieces(lines) {
			n, whole = n+1, whole+len(piece)
			if piece[len(piece)-1] != '\n' || countLines(piece) > wire.MaxCutLines {
				t.Fatalf("piece %q", piece)
			}
		}
		if whole != len(lines) {
			t.Fatalf("%d bytes in %d pieces of %d", whole, n, len(lines))
		}
	})
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, subject string
		want             bool
	}{
		{"logs.>", "logs.a", true}, {"logs.>", "logs.a.b", true}, {"logs.>", "logs", false}, {"logs.*", "logs.a", true},
		{"logs.*", "logs.a.b", false}, {">", "a.b", true}, {"*", "a", true}, {"*", "a.b", false}, {"a.*.c", "a.b.c", true}, {"a.b", "a.b", true}, {"a.b", "a", false}, {"a", "a.b", false},
	} {
		if got := matches(c.pattern, c.subject); got != c.want {
			t.Errorf("%s matches %s: %v", c.pattern, c.subject, got)
		}
	}
}
