package livetail

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/sink"
)

// awaitPublisher puts lines until one is shown: the publisher begins at the end of the
// log when its goroutine runs. Nothing is left of them afterwards.
func awaitPublisher(t *testing.T, s *sink.Sink, sub *nats.Subscription) {
	t.Helper()
	var m *nats.Msg
	last := ""
	waittest.Until(t, "the publisher", func() (shown bool) {
		last += "."
		put(t, s, "probe", "app", last)
		var err error
		m, err = sub.NextMsg(100 * time.Millisecond)
		return err == nil
	})
	for err := error(nil); !strings.HasSuffix(string(m.Data), ": "+last); {
		if m, err = sub.NextMsg(10 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPublisher: lines are shown on subjects of their host and source from the moment
// a client listens; one that is too slow is told exactly what was not shown.
func TestPublisher(t *testing.T) {
	server := natstest.New(t)
	s, _ := show(t, &sink.Sink{}, &Tail{})
	put(t, s, "web", "app", "before anybody looked")
	visible(t, s)
	link := new(link)
	p := &Publisher{Sink: s, Conn: server.Connect(nats.ReconnectWait(time.Millisecond), nats.SetCustomDialer(link)), Prefix: "fanin.tail", Log: slog.New(slog.DiscardHandler),
		MaxLag: 64 << 10, Token: func(name []byte) string { return strings.ReplaceAll(string(name), ".", "_") }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }() // ended by cancel
	t.Cleanup(func() { cancel(); <-done; p.Conn.Close() })

	nc := server.Connect()
	web, err := nc.SubscribeSync("fanin.tail.web_1.>")
	if err != nil {
		t.Fatal(err)
	}
	all, err := nc.SubscribeSync("fanin.tail.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	awaitPublisher(t, s, all)
	put(t, s, "db", "postgres", "one")
	put(t, s, "web.1", "nginx", "two")
	for _, want := range []string{"fanin.tail.db.postgres one", "fanin.tail.web_1.nginx two"} {
		m, err := all.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(string(m.Data), ": ")
		if got := m.Subject + " " + body; got != want {
			t.Errorf("shown %q, want %q", got, want)
		}
	}
	if m, err := web.NextMsg(time.Second); err != nil || !strings.HasSuffix(string(m.Data), "two") {
		t.Errorf("by its subject: %v, %v", m, err)
	}

	skipped := func() (lines uint64, exact bool) {
		t.Helper()
		m, err := all.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var told Skipped
		if err := json.Unmarshal(m.Data, &told); err != nil || m.Subject != "fanin.tail.-.skipped" {
			t.Fatalf("told %q on %s: %v", m.Data, m.Subject, err)
		}
		return told.Lines, told.Exact
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		waittest.Until(t, what, ok)
	}

	// The server is away for longer than lines are held back for it.
	link.down.Store(true)
	server.Stop()
	until("the publisher to notice", func() bool { return !p.Conn.IsConnected() })
	for i := range 20 {
		put(t, s, "web", "app", numbers(100*i, 100*i+100)...)
	}
	visible(t, s)
	server.Start()
	until("the listener", func() bool { return nc.Flush() == nil })
	link.down.Store(false)
	if n, exact := skipped(); !(n == 2000 && exact) && !(n == 2002 && !exact) { // the server may not have confirmed the first two
		t.Errorf("told of %d lines, exact %v", n, exact)
	}
	before := p.lines.Load()
	put(t, s, "web", "app", "after")
	if m, err := all.NextMsg(10 * time.Second); err != nil || !strings.HasSuffix(string(m.Data), "after") {
		t.Errorf("then %v, %v", m, err)
	}
	until("the line to be counted, too", func() bool { return p.lines.Load() == before+1 })

	// The connection is lost with lines on their way.
	link.deaf.Store(true)
	shown := p.lines.Load()
	put(t, s, "web", "app", numbers(0, 5)...)
	until("lines to be on their way", func() bool { return p.lines.Load() == shown+5 })
	link.cut()
	if n, exact := skipped(); n < 5 || n > 6 || exact {
		t.Errorf("told of %d lines, exact %v", n, exact)
	}
	put(t, s, "web", "app", "in the end")
	if m, err := all.NextMsg(10 * time.Second); err != nil || !strings.HasSuffix(string(m.Data), "in the end") {
		t.Errorf("in the end %v, %v", m, err)
	}
}

// link is the way to the server, which can be down, deaf or cut.
type link struct {
	down, deaf atomic.Bool
	last       atomic.Pointer[linkConn]
}

type linkConn struct {
	net.Conn
	link *link
}

func (l *link) Dial(network, address string) (net.Conn, error) {
	if l.down.Load() {
		return nil, errors.New("down")
	}
	nc, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	c := &linkConn{nc, l}
	l.last.Store(c)
	return c, nil
}

func (l *link) cut() {
	l.last.Load().Close()
	l.deaf.Store(false)
}

func (c *linkConn) Write(b []byte) (int, error) {
	if c.link.deaf.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}
