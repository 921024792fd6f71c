package livetail

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/internal/natstest"
	"fanin/sink"
)

// TestPublisher: lines are shown on subjects of their host and source from the moment
// somebody listens; who is too slow is told exactly what was not shown.
func TestPublisher(t *testing.T) {
	server := natstest.New(t)
	s, _ := show(t, &sink.Sink{}, &Tail{})
	put(t, s, "web", "app", "before anybody looked")
	visible(t, s)
	p := &Publisher{Sink: s, Conn: server.Connect(nats.ReconnectWait(time.Second)), Prefix: "fanin.tail", Log: slog.New(slog.DiscardHandler), MaxLag: 64 << 10,
		Token: func(name []byte) string { return strings.ReplaceAll(string(name), ".", "_") }}
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

	// The server is away for longer than lines are held back for it.
	server.Stop()
	for i := range 20 {
		put(t, s, "web", "app", numbers(100*i, 100*i+100)...)
	}
	visible(t, s)
	server.Start()
	for !nc.IsConnected() {
		time.Sleep(time.Millisecond)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	m, err := all.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(m.Data); m.Subject != "fanin.tail.-.skipped" || !strings.Contains(got, `"lines":2000,"exact":true`) {
		t.Errorf("told %q on %s, want 2000 lines skipped", got, m.Subject)
	}
	put(t, s, "web", "app", "after")
	if m, err = all.NextMsg(10 * time.Second); err != nil || !strings.HasSuffix(string(m.Data), "after") {
		t.Errorf("then %v, %v", m, err)
	}
}
