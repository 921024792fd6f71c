package nats

import (
	"context"
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

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/internal/lines"
	"fanin/internal/natsconn"
	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// serveNATS serves n until stop is called, at the latest when the test ends.
func serve(t testing.TB, s *natstest.Server, n *Input) (stop func()) {
	t.Helper()
	n.setUp()
	n.Conn = s.Connect(nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { n.Forbidden(natsconn.AsForbidden(err)) }), nats.ReconnectErrHandler(n.Unreachable),
		nats.ConnectHandler(func(nc *nats.Conn) { n.Unreachable(nc, nil) }), nats.ReconnectHandler(func(nc *nats.Conn) { n.Unreachable(nc, nil) }))
	served := make(chan error, 1)
	go func() { served <- n.Serve() }() // ended by stop
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := n.Shutdown(ctx); err != nil && !t.Failed() {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != ingest.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
		if used := n.Budget.Used(); used != 0 {
			t.Errorf("%d bytes of the budget were not released", used)
		}
		n.Conn.Close()
	})
	t.Cleanup(stop)
	return stop
}

// healthy waits until nothing is in trouble.
func healthy(t testing.TB, n *Input) {
	t.Helper()
	waittest.UntilEqual(t, "the trouble", "", n.Trouble)
}

// troubled waits until the trouble contains a word.
func troubled(t testing.TB, n *Input, word string) {
	t.Helper()
	var got string
	defer func() {
		if t.Failed() {
			t.Logf("the trouble is %q", got)
		}
	}()
	waittest.Until(t, fmt.Sprintf("trouble with %q", word), func() bool {
		got = n.Trouble()
		return strings.Contains(got, word)
	})
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

// sources are the lines of batches by their source.
func sources(batches []wire.Batch) map[string]string {
	by := make(map[string]string)
	for _, b := range batches {
		for labels, text := range b.Runs() {
			by[labels.Source] += string(text)
		}
	}
	return by
}

// TestPlainNATS: messages become lines, and their subjects sources, each source's in order. What Fluent
// Bit sends becomes a line for each record.
func TestPlainNATS(t *testing.T) {
	s := natstest.New(t)
	k := ingesttest.NewRecorder()
	n := &Input{Out: k, Plain: PlainOptions{Subjects: []string{"logs.>"}, MaxLine: 300}}
	serve(t, s, n)
	healthy(t, n)
	nc := s.Connect()
	publish(t, nc, "logs.web", "hello", "two\nlines\n", "", "\n")
	publish(t, nc, "logs.fb.app", `[[1700000000.25,{"log":"one", "n":1}],[1700000001,{}]]`)
	publish(t, nc, "logs.web", strings.Repeat("x", 400), "[[not, json")
	publish(t, nc, "other", "not ours")
	_, batches := k.Wait(t, func(text string, _ []wire.Batch) bool { return strings.Contains(text, "not, json") })
	by := sources(batches)
	if want := `{"date":1700000000.25,"log":"one","n":1}` + "\n" + `{"date":1700000001}` + "\n"; by["logs.fb.app"] != want {
		t.Errorf("Fluent Bit's records are %q, want %q", by["logs.fb.app"], want)
	}
	web := by["logs.web"]
	if !strings.HasPrefix(web, "hello\ntwo\nlines\n") || !strings.HasSuffix(web, "[[not, json\n") || strings.Count(web, wire.SplitMark) != 1 {
		t.Errorf("the lines are %q", web)
	}
	if by["other"] != "" {
		t.Error("another subject's message is in the log")
	}
}

// TestPlainNATSQueue: two members of a queue group share the messages.
func TestPlainNATSQueue(t *testing.T) {
	s := natstest.New(t)
	k := ingesttest.NewRecorder()
	for range 2 {
		n := &Input{Out: k, Plain: PlainOptions{Subjects: []string{"logs"}, Queue: "g"}}
		serve(t, s, n)
		healthy(t, n)
	}
	nc := s.Connect()
	for i := range 100 {
		publish(t, nc, "logs", fmt.Sprintf("line %d", i))
	}
	publish(t, nc, "logs", "end")
	text, _ := k.Wait(t, func(text string, _ []wire.Batch) bool { return strings.Count(text, "\n") >= 101 })
	if got := strings.Count(text, "\n"); got != 101 {
		t.Errorf("%d lines, want 101", got)
	}
}

// TestNATSDrops: messages that come faster than they can be written are counted, exactly.
func TestNATSDrops(t *testing.T) {
	s := natstest.New(t)
	k := ingesttest.NewRecorder()
	hold := make(chan struct{})
	k.Outcome = func(context.Context, wire.Batch) error { <-hold; return nil }
	var notice atomic.Pointer[string]
	n := &Input{Out: k, Notice: func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		notice.Store(&text)
	}, Plain: PlainOptions{Subjects: []string{"logs"}, Pending: 64 << 10}}
	stop := serve(t, s, n)
	healthy(t, n)
	const sent = 1000
	nc := s.Connect()
	for i := range sent {
		publish(t, nc, "logs", fmt.Sprintf("%04d %s", i, strings.Repeat("x", 1000)))
	}
	waittest.Until(t, "all messages to arrive", func() bool { return n.Conn.Stats().InMsgs >= sent })
	close(hold)
	stop()
	dropped := count(n.Metrics.drops)
	if got := strings.Count(k.Text(), "\n"); got+dropped != sent || dropped == 0 {
		t.Errorf("%d kept and %d dropped of %d", got, dropped, sent)
	}
	if text := notice.Load(); text == nil || !strings.Contains(*text, "LOST n=") {
		t.Errorf("the notice is %v", text)
	}
}

// TestNATSAbsent: the input waits for the server, and its trouble is true at any time.
func TestNATSAbsent(t *testing.T) {
	s := natstest.New(t)
	s.Stop()
	k := ingesttest.NewRecorder()
	n := &Input{Out: k, Plain: PlainOptions{Subjects: []string{"logs.>"}}}
	serve(t, s, n)
	troubled(t, n, "not connected: dial tcp 127.0.0.1")
	s.Start()
	healthy(t, n)
	publish(t, s.Connect(), "logs.a", "hello")
	k.WaitText(t, "hello\n")
	s.Stop()
	troubled(t, n, "not connected: dial tcp 127.0.0.1")
	s.Start()
	healthy(t, n)
}

// TestNATSOutage: an outage is logged once, whichever server of a cluster is tried.
func TestNATSOutage(t *testing.T) {
	var said strings.Builder
	n, nc := &Input{Log: slog.New(slog.NewTextHandler(&said, nil))}, natstest.New(t).Connect()
	for outage := range 2 {
		for i := range 3 {
			n.Unreachable(nc, fmt.Errorf("server %d is away", i))
		}
		n.Unreachable(nc, nil)
		if got := strings.Count(said.String(), "cannot be reached"); got != outage+1 {
			t.Errorf("outage %d: logged %d times\n%s", outage, got, said.String())
		}
	}
}

// TestNATSForbidden: a permission that the server denies is logged once, with the subject. When it is
// granted, the input continues by itself.
func TestNATSForbidden(t *testing.T) {
	deny := func(subjects ...string) *server.SubjectPermission { return &server.SubjectPermission{Deny: subjects} }
	for what, c := range map[string]struct {
		forbidden server.Permissions
		listen    *Input
		word      string
	}{
		"plain":  {server.Permissions{Subscribe: deny("logs.>")}, &Input{Plain: PlainOptions{Subjects: []string{"logs.>"}}}, "the NATS server forbids this user to subscribe to logs.>"},
		"queue":  {server.Permissions{Subscribe: deny("logs.>")}, &Input{Plain: PlainOptions{Subjects: []string{"logs.>"}, Queue: "q"}}, "the NATS server forbids this user to subscribe to logs.>"},
		"agents": {server.Permissions{Subscribe: deny("fanin.agent.*")}, &Input{Agents: AgentOptions{Subjects: "fanin"}}, "the NATS server forbids this user to subscribe to fanin.agent.*"},
		"stream": {server.Permissions{Publish: deny("$JS.API.>")}, &Input{Stream: StreamOptions{Name: "LOGS", Create: true}, Plain: PlainOptions{Subjects: []string{"logs.>"}}}, "the NATS server forbids this user to publish to $JS.API.STREAM.INFO.LOGS"},
	} {
		t.Run(what, func(t *testing.T) {
			user := &server.User{Username: "c", Password: "c", Permissions: &c.forbidden}
			s := natstest.New(t, func(o *server.Options) { o.Users = []*server.User{user} })
			var said strings.Builder
			m := &appendertest.Memory{Log: wire.NewStreamID()}
			n := c.listen
			n.Out, n.Welcome, n.Log = m, m.Welcome, slog.New(slog.NewTextHandler(&said, nil))
			n.Conn = s.Connect(nats.UserInfo("c", "c"), nats.PermissionErrOnSubscribe(true), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { n.Forbidden(natsconn.AsForbidden(err)) }),
				nats.ReconnectHandler(func(*nats.Conn) { n.Forbidden(nil) }))
			ended := make(chan struct{})
			go func() { n.Serve(); close(ended) }() // ended by Shutdown
			troubled(t, n, c.word)
			s.Stop()
			s.Change(func(o *server.Options) { user.Permissions = nil })
			s.Start()
			healthy(t, n)
			n.Shutdown(t.Context())
			<-ended
			n.Conn.Close()
			if got := strings.Count(said.String(), "forbids"); got != 1 {
				t.Errorf("logged %d times:\n%s", got, said.String())
			}
		})
	}
}

func FuzzFluentLines(f *testing.F) {
	for _, m := range []string{`[[1700000000.25,{"log":"one"}],[1,{}]]`, `[[1,{"a":"b\nc"}]]`, "[]", "[[", "[[1,2]]", `[["x",{}]]`, " [ [1 , { \"a\" : [1, {}] } ] ]", "text", `[[1,{"a":1}]] `} {
		f.Add([]byte(m))
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		text := plainText(m)
		if text != nil && text[len(text)-1] != '\n' {
			t.Fatalf("%q has no newline at its end", text)
		}
		n, whole := 0, 0
		for piece := range lines.Chunks(text) {
			n, whole = n+1, whole+len(piece)
			if piece[len(piece)-1] != '\n' || lines.Count(piece) > wire.MaxCutLines {
				t.Fatalf("piece %q", piece)
			}
		}
		if whole != len(text) {
			t.Fatalf("%d bytes in %d pieces of %d", whole, n, len(text))
		}
	})
}

// TestSourceOf: every subject makes a source that the log accepts, and none the collector's own.
func TestSourceOf(t *testing.T) {
	for subject, want := range map[string]string{
		"logs.web":           "logs.web",
		wire.SourceNotice:    "nats/fanin",
		"logs.file:///x":     "logs.file_///x",
		"logs.\xff\x1b[2J\"": "logs.__[2J_",
		"logs." + strings.Repeat("x", 2*wire.MaxName): "logs." + strings.Repeat("x", wire.MaxName-5),
	} {
		got := sourceOf(subject)
		var b wire.Batch
		b.Label(wire.Labels{Source: got})
		b.Text = []byte("x\n")
		if err := b.Check(); got != want || err != nil {
			t.Errorf("%q makes the source %q (%v), want %q", subject, got, err, want)
		}
	}
}
