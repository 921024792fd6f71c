package nats

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink"
	"fanin/sink/distribute"
)

func TestMain(m *testing.M) { natstest.VerifyMain(m) }

// house is a log and its work distributor.
type house struct {
	sink *sink.Sink
	work *distribute.Distributor
	stop func()
}

func open(t *testing.T, dir string) *house {
	t.Helper()
	k := &sink.Sink{Path: filepath.Join(dir, "all.log"), Host: "here", Sync: "none"}
	d := distribute.New(k, distribute.Settings{Retry: time.Millisecond, Attempts: 2})
	k.Retention.AwaitConsumers = true
	for _, f := range []func(context.Context) error{k.Open, d.Open} {
		if err := f(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	h := &house{sink: k, work: d}
	h.stop = sync.OnceFunc(func() {
		d.Shutdown(context.Background())
		k.Close(context.Background())
	})
	t.Cleanup(func() { h.stop() })
	return h
}

func (h *house) put(t *testing.T, source string, lines ...string) {
	t.Helper()
	b := wire.Batch{Host: "web.example.com", Source: source, Input: "tcp", Time: time.Now().UnixMicro(), Text: []byte(strings.Join(lines, "\n") + "\n")}
	if err := h.sink.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// carry runs an output until stop.
func (h *house) carry(t *testing.T, s *natstest.Server, change ...func(*Output)) (r *Output, stop func()) {
	t.Helper()
	joined := make(chan struct{})
	r = &Output{Dial: h.work.Connect, Conn: s.Connect(), Parts: h.sink.Parts, ID: h.sink.Status().Log, Stream: "WORK", Create: true, From: "start",
		Joined: sync.OnceFunc(func() { close(joined) })}
	for _, f := range change {
		f(r)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }() // ended by stop
	<-joined
	stop = sync.OnceFunc(func() { cancel(); <-done; r.Conn.Close() })
	t.Cleanup(stop)
	return r, stop
}

// queue returns the messages of the work queue: subject and the end of the line.
func queue(t *testing.T, s *natstest.Server, want int) (list []string) {
	t.Helper()
	js, err := jetstream.New(s.Connect())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := js.CreateOrUpdateConsumer(ctx, "WORK", jetstream.ConsumerConfig{Durable: "test", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	for len(list) < want && ctx.Err() == nil {
		batch, err := c.Fetch(want-len(list), jetstream.FetchMaxWait(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			_, body, _ := strings.Cut(string(m.Data()), ": ")
			list = append(list, m.Subject()+" "+body)
			m.DoubleAck(ctx)
		}
	}
	if len(list) != want {
		t.Fatalf("%d messages in the queue, want %d: %q", len(list), want, list)
	}
	info, err := c.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if info.NumPending > 0 {
		t.Errorf("the queue has %d messages more", info.NumPending)
	}
	return list
}

// troubled waits until the output has this trouble.
func troubled(t *testing.T, r *Output, word string) {
	t.Helper()
	waittest.Until(t, "trouble with "+word, func() bool { return strings.Contains(r.Trouble(), word) })
}

// done waits until the log has so many lines, since an ack comes before they can be read,
// and the group has finished them.
func done(t *testing.T, h *house, lines uint64) {
	t.Helper()
	waittest.Until(t, "the group to finish all lines", func() bool {
		n, _, err := h.sink.Count(t.Context(), sink.Position{Generation: 1}, h.sink.End())
		groups, err2 := h.work.Groups(t.Context())
		return err == nil && n == lines && err2 == nil && len(groups) == 1 && groups[0].LagLines == 0
	})
}

// TestRelay: each line becomes one message of the work queue, on a subject of its
// host and source; a restart carries nothing twice.
func TestRelay(t *testing.T) {
	s, dir := natstest.New(t), t.TempDir()
	h := open(t, dir)
	_, stop := h.carry(t, s)
	h.put(t, "nginx", "one", "two")
	h.put(t, "my app.*", "three")
	done(t, h, 3)
	stop()
	h.put(t, "nginx", "four")
	h.stop()
	h = open(t, dir)
	h.carry(t, s)
	done(t, h, 4)
	got := strings.Join(queue(t, s, 4), "\n")
	want := "work.web_example_com.nginx one\nwork.web_example_com.nginx two\nwork.web_example_com.my_app__ three\nwork.web_example_com.nginx four"
	if got != want {
		t.Errorf("the queue is\n%s\nwant\n%s", got, want)
	}
}

// TestRelayServerAway: lines wait while the server is away, none is given up, and
// none is in the queue twice.
func TestRelayServerAway(t *testing.T) {
	s := natstest.New(t)
	h := open(t, t.TempDir())
	r, _ := h.carry(t, s)
	n := 0
	say := func(k int) {
		for range k {
			h.put(t, "app", fmt.Sprintf("line %d", n))
			n++
		}
	}
	say(50)
	for range 3 {
		s.Stop()
		say(50)
		waittest.Until(t, "trouble", func() bool { return r.Trouble() != "" })
		s.Start()
		say(50)
		done(t, h, uint64(n))
	}
	for i, line := range queue(t, s, n) {
		if want := fmt.Sprintf("work.web_example_com.app line %d", i); line != want {
			t.Fatalf("message %d is %q, want %q", i, line, want)
		}
	}
	groups, _ := h.work.Groups(t.Context())
	if groups[0].Dead > 0 {
		t.Errorf("%d dead letters: the server's absence is no fault of the lines", groups[0].Dead)
	}
}

// TestRelayAgain: the stream recognizes a line that is carried again by its id, which is
// the line's position in the log.
func TestRelayAgain(t *testing.T) {
	s := natstest.New(t)
	h := open(t, t.TempDir())
	r, _ := h.carry(t, s)
	h.put(t, "app", "one", "two")
	done(t, h, 2)
	if _, err := h.work.Replay(t.Context(), "nats", "start"); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "all lines to be carried again", func() bool { return r.loop.Counts().Carried == 4 })
	queue(t, s, 2)
	js, err := jetstream.New(s.Connect())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "work.x.y", []byte("other"), jetstream.WithMsgID(h.sink.Status().Log+".1.0")); err != nil {
		t.Fatal(err)
	}
	queue(t, s, 0) // the first line had that id
}

// TestRelayStreamGone: lines that the stream did not acknowledge are carried when the
// stream exists again; with Create, it is created.
func TestRelayStreamGone(t *testing.T) {
	s := natstest.New(t)
	h := open(t, t.TempDir())
	_, stop := h.carry(t, s)
	h.put(t, "app", "one")
	done(t, h, 1)
	js, err := jetstream.New(s.Connect())
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), "WORK"); err != nil {
		t.Fatal(err)
	}
	h.put(t, "app", "two", "three")
	done(t, h, 3)
	if got := queue(t, s, 2); !strings.HasSuffix(got[0], " two") || !strings.HasSuffix(got[1], " three") {
		t.Errorf("the queue that was made again is %q", got)
	}
	stop()

	r, _ := h.carry(t, s, func(r *Output) { r.Create = false })
	h.put(t, "app", "four")
	done(t, h, 4)
	if err := js.DeleteStream(t.Context(), "WORK"); err != nil {
		t.Fatal(err)
	}
	h.put(t, "app", "five")
	troubled(t, r, "the stream WORK does not exist: set create")
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work.>"}, Retention: jetstream.WorkQueuePolicy}); err != nil {
		t.Fatal(err)
	}
	done(t, h, 5)
	if got := queue(t, s, 1); !strings.HasSuffix(got[0], " five") {
		t.Errorf("the queue is %q", got)
	}
}

// TestRelayRefused: a stream that would drop its oldest messages receives none until its
// configuration is corrected.
func TestRelayRefused(t *testing.T) {
	s := natstest.New(t)
	js, err := jetstream.New(s.Connect())
	if err != nil {
		t.Fatal(err)
	}
	c := jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work.>"}, Retention: jetstream.WorkQueuePolicy, MaxMsgs: 1}
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	h := open(t, t.TempDir())
	h.put(t, "app", "one", "two")
	r, _ := h.carry(t, s)
	troubled(t, r, "drops its oldest messages when it is full")
	c.Discard, c.MaxMsgs = jetstream.DiscardNew, 10
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got := queue(t, s, 2); !strings.HasSuffix(got[0], " one") || !strings.HasSuffix(got[1], " two") {
		t.Errorf("the queue is %q", got)
	}
	done(t, h, 2)
}

// TestRelayTooLong: a line that is too long for the server becomes a dead letter, and the
// others are carried.
func TestRelayTooLong(t *testing.T) {
	s := natstest.New(t, func(o *server.Options) { o.MaxPayload = 4 << 10 })
	h := open(t, t.TempDir())
	h.carry(t, s)
	h.put(t, "app", "before", strings.Repeat("x", 8<<10), "after")
	done(t, h, 3)
	queue(t, s, 2)
	groups, _ := h.work.Groups(t.Context())
	if groups[0].Dead != 1 {
		t.Errorf("%d dead letters, want 1", groups[0].Dead)
	}
}
