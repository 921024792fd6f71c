package collector

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/cluster"
	"fanin/internal/natsconn"
	"fanin/internal/natstest"
	"fanin/internal/retry"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink"
	"fanin/sink/depot"
)

// keptStream is a stream that has messages of two partitions in turns: 0 has the numbers 1, 3 and 5.
func keptStream(t *testing.T) (jetstream.JetStream, jetstream.Stream) {
	t.Helper()
	s := natstest.New(t)
	js := s.JetStream(s.Connect())
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "LOGS", Subjects: []string{"0.logs", "1.logs"},
		Retention: jetstream.LimitsPolicy})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for _, subject := range []string{"0.logs", "1.logs"} {
			if _, err := js.Publish(t.Context(), subject, []byte("line")); err != nil {
				t.Fatal(err)
			}
		}
	}
	return js, stream
}

// keptMessage is a message that a stream has.
func keptMessage(t *testing.T, stream jetstream.Stream, number uint64) cluster.Message {
	t.Helper()
	m, err := stream.GetMsg(t.Context(), number)
	if err != nil {
		t.Fatal(err)
	}
	return cluster.Message{Number: number, Time: uint64(m.Time.UnixNano())}
}

// What is archived is purged, of its partition. Where the stream was made again or lost its end, other
// messages have the numbers, which nothing has read perhaps: nothing is purged.
func TestKeeperPurges(t *testing.T) {
	_, stream := keptStream(t)
	k := &keeper{own: &cluster.Ownership{Partition: 0}, stream: stream, limited: retry.NewLog(slog.New(slog.DiscardHandler))}
	other := uint64(time.Now().Add(-time.Hour).UnixNano())
	third := keptMessage(t, stream, 3)
	for _, x := range []struct {
		what string
		last cluster.Message
		left uint64
	}{
		{"another message has the number", cluster.Message{Number: 5, Time: other}, 6},
		{"the stream is shorter", cluster.Message{Number: 5_000_000, Time: other}, 6},
		{"the time is not known", cluster.Message{Number: 3}, 6},
		{"the message is there", third, 4},
		{"it was purged", third, 4},
	} {
		if err := k.purgeUpTo(t.Context(), x.last); err != nil {
			t.Errorf("%s: %v", x.what, err)
		}
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.State.Msgs != x.left {
			t.Errorf("%s: %d messages are left, want %d", x.what, info.State.Msgs, x.left)
		}
	}
}

// A file that is closed before the tenure has begun has no marks: they would be those of an earlier
// tenure, with the last message of a later one.
func TestClosedBeforeBegin(t *testing.T) {
	dir := t.TempDir()
	s := &sink.Sink{Path: filepath.Join(dir, "all.log"), State: filepath.Join(dir, "state"), Sync: "none"}
	k := newKeeper(s, &cluster.Ownership{}, slog.New(slog.DiscardHandler))
	s.OnClose(k.closing)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	rotated := func(line string) {
		t.Helper()
		before := s.End()
		if err := s.Append(t.Context(), wire.Batch{Host: "web", Source: "app", Input: "nats", Text: []byte(line)}); err != nil {
			t.Fatal(err)
		}
		waittest.Until(t, "the line", func() bool { return s.End() != before })
		if _, err := s.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	rotated("before\n")
	if _, err := os.Stat(k.path(1)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of before the tenure has marks: %v", err)
	}
	last := cluster.Message{Number: 7000, Time: 7}
	k.committed(s.End(), last)
	if got := k.archived(2); got.Number != 0 {
		t.Errorf("all up to message %d was archived with it", got.Number)
	}
	rotated("behind\n")
	if k.path(2) == "" {
		t.Error("the file of the tenure has no marks")
	}
	k.committed(s.End(), last)
	if got := k.archived(3); got != last {
		t.Errorf("got %v, want %v", got, last)
	}
}

// The stream keeps messages for a tenure only if they are its own: another stream has the same numbers.
func TestTenureOfStream(t *testing.T) {
	_, stream := keptStream(t)
	fifth := keptMessage(t, stream, 5)
	if err := stream.DeleteMsg(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		what string
		last cluster.Message
		want bool
	}{
		{"its message is there", fifth, true},
		{"another message has the number", cluster.Message{Number: 5, Time: fifth.Time - 1}, false},
		{"the message was removed", cluster.Message{Number: 3, Time: 1}, true},
		{"an earlier release", cluster.Message{Number: 5}, false},
	} {
		got, err := ofStream(t.Context(), stream, &cluster.Tenure{Last: x.last.Number, LastTime: x.last.Time})
		if err != nil || got != x.want {
			t.Errorf("%s: got %v, %v, want %v", x.what, got, err, x.want)
		}
	}
}

// A tenure is not made again from marks that are behind its messages: nothing would be read.
func TestSalvageBase(t *testing.T) {
	lost := &cluster.Tenure{First: 11, Last: 20}
	for _, x := range []struct {
		last   uint64
		own    bool
		refuse bool
	}{{0, false, false}, {10, false, false}, {15, true, false}, {20, true, false}, {11, false, true}, {21, true, true},
		{5_000_000, false, true}} {
		b := base{Marks: depot.Marks{Last: x.last}, own: x.own}
		if err := b.mayFill(lost); (err != nil) != x.refuse {
			t.Errorf("%+v: %v", x, err)
		}
	}
}

// A work queue that is removed and made again as a stream that keeps its messages is found.
func TestKeeperFindsAgain(t *testing.T) {
	s := natstest.New(t)
	nc := s.Connect()
	js := s.JetStream(nc)
	k := &keeper{own: &cluster.Ownership{Partition: 0}, conn: nc, name: "LOGS", free: time.Now(),
		limited: retry.NewLog(slog.New(slog.DiscardHandler))}
	config := jetstream.StreamConfig{Name: "LOGS", Subjects: []string{"0.logs"}, Retention: jetstream.WorkQueuePolicy}
	for _, keeps := range []bool{false, true} {
		if keeps {
			if err := js.DeleteStream(t.Context(), "LOGS"); err != nil {
				t.Fatal(err)
			}
			config.Retention = jetstream.LimitsPolicy
		}
		if _, err := js.CreateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		if err := k.find(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := natsconn.Keeps(k.stream); got != keeps {
			t.Errorf("keeps: %v, want %v", got, keeps)
		}
		k.found = k.found.Add(-findStreamEvery) // a minute later
	}
}
