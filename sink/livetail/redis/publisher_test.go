package redis

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanin/internal/redisconn"
	"fanin/internal/redistest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

// show runs a publisher of a new log.
func show(t *testing.T, server *redistest.Server, maxLag int64) (*sink.Sink, *Publisher) {
	t.Helper()
	k := &sink.Sink{Path: filepath.Join(t.TempDir(), "all.log"), Host: "here", Sync: "none"}
	if err := k.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	client := server.Client()
	client.Timeout = 2 * time.Second
	p := &Publisher{Sink: k, Server: client, Channel: "tail.{host}.{source}", MaxLag: maxLag}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }() // ended by cancel
	t.Cleanup(func() { cancel(); <-done; k.Close(context.Background()) })
	return k, p
}

func put(t *testing.T, k *sink.Sink, host, source string, lines ...string) {
	t.Helper()
	b := wire.Batch{Host: host, Source: source, Input: "tcp", Time: time.Now().UnixMicro(), Text: []byte(strings.Join(lines, "\n") + "\n")}
	if err := k.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// subscribe subscribes to a pattern.
func subscribe(t *testing.T, server *redistest.Server, pattern string) *redisconn.Conn {
	t.Helper()
	c, err := server.Client().Dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.Listen(time.Minute)
	if _, err := c.Do(t.Context(), "PSUBSCRIBE", pattern); err != nil {
		t.Fatal(err)
	}
	return c
}

// next receives a message: its channel, and the end of the line.
func next(t *testing.T, c *redisconn.Conn) string {
	t.Helper()
	v, err := c.Receive(t.Context(), waittest.Limit)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(v.At(3).String(), ": ")
	return v.At(2).String() + " " + body
}

// TestPublisher: a line is on the channel of its host and source; what no subscriber receives is
// counted.
func TestPublisher(t *testing.T) {
	s := redistest.New(t)
	k, p := show(t, s, 0)
	waittest.Until(t, "the connection", func() bool { return strings.Contains(s.Do("CLIENT", "LIST"), "cmd=ping") })
	put(t, k, "web-1", "nginx", "unheard")
	waittest.UntilEqual(t, "lines that no subscriber received", 1, func() uint64 { return p.counts.unheard.Load() })
	all, web := subscribe(t, s, "tail.*"), subscribe(t, s, "tail.web*")
	put(t, k, "db", "a b*?[c]\\", "one", "two")
	put(t, k, "web-1", "nginx", "three")
	for _, want := range []string{"tail.db.a_b___c__ one", "tail.db.a_b___c__ two", "tail.web-1.nginx three"} {
		if got := next(t, all); got != want {
			t.Errorf("received %q, want %q", got, want)
		}
	}
	if got := next(t, web); got != "tail.web-1.nginx three" {
		t.Errorf("by its channel, received %q", got)
	}
	waittest.UntilEqual(t, "all to be counted", 4, func() uint64 { return p.counts.published.Load() })
	if p.counts.unheard.Load() != 1 || p.counts.dropped.Load() != 0 {
		t.Errorf("published %d, unheard %d, dropped %d", p.counts.published.Load(), p.counts.unheard.Load(), p.counts.dropped.Load())
	}
}

// TestPublisherServerAway: lines wait while the server is away, and are dropped when they are
// too many. Every line is published once, or counted as dropped.
func TestPublisherServerAway(t *testing.T) {
	s := redistest.New(t)
	k, p := show(t, s, 64<<10)
	waittest.Until(t, "the connection", func() bool { return strings.Contains(s.Do("CLIENT", "LIST"), "cmd=ping") })
	sent := 0
	some := func(n int) {
		for range n {
			put(t, k, "web", "app", fmt.Sprintf("line %d", sent))
			sent++
		}
	}
	some(10)
	s.Kill()
	waittest.Until(t, "trouble", func() bool { return strings.Contains(p.Trouble(), "connection refused: start the server") })
	dropped := p.counts.dropped.Load()
	some(100)
	s.Start()
	total := func() uint64 { return p.counts.published.Load() + p.counts.dropped.Load() }
	waittest.UntilEqual(t, "every line to be counted", uint64(sent), total)
	if n := p.counts.dropped.Load(); n != dropped {
		t.Errorf("%d lines were dropped, and few waited", n-dropped)
	}
	s.Kill()
	waittest.Until(t, "trouble", func() bool { return p.Trouble() != "" })
	some(2000)
	waittest.Until(t, "lines to be dropped", func() bool { return p.counts.dropped.Load() > 1000 })
	s.Start()
	waittest.UntilEqual(t, "every line to be counted", uint64(sent), total)
	waittest.Until(t, "no trouble", func() bool { return p.Trouble() == "" })
}

// TestPublisherRefused: what an ACL forbids is dropped and counted, and other lines are
// published.
func TestPublisherRefused(t *testing.T) {
	s := redistest.New(t)
	s.Do("ACL", "SETUSER", "default", "resetchannels", "&tail.web.*")
	k, p := show(t, s, 0)
	waittest.Until(t, "the connection", func() bool { return strings.Contains(s.Do("CLIENT", "LIST"), "cmd=ping") })
	put(t, k, "web", "app", "one")
	put(t, k, "db", "app", "two")
	put(t, k, "web", "app", "three")
	waittest.UntilEqual(t, "lines to be published", 2, func() uint64 { return p.counts.published.Load() })
	waittest.UntilEqual(t, "a line to be dropped", 1, func() uint64 { return p.counts.dropped.Load() })
}

// TestChannel: names with other braces are refused.
func TestChannel(t *testing.T) {
	for name, ok := range map[Channel]bool{"": false, "x": true, "{host}": true, "{host": false, "a.{source}.{host}.b": true,
		"{hosts}": false, "}": false, "{{host}}": false} {
		if err := name.Check(); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}
