package redis

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"fanin/internal/redistest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// stalled has messages of all channels received while the log takes none. Closing goOn lets it.
func stalled(t *testing.T, s *redistest.Server) (c *collector, goOn chan struct{}) {
	goOn = make(chan struct{})
	m := new(appendertest.Memory)
	m.Before = func(context.Context, wire.Batch) error { <-goOn; return nil }
	c = collect(t, s, m, func(n *Input) { n.Channels.Names = []string{"*"}; n.Channels.Pending = 16 << 20 })
	receiving(t, s)
	return c, goOn
}

func receiving(t *testing.T, s *redistest.Server) {
	t.Helper()
	waittest.UntilEqual(t, "patterns that are subscribed", "1", func() string { return s.Do("PUBSUB", "NUMPAT") })
}

// TestChannelStalledLog: a connection that breaks while the log takes nothing is made again at once.
func TestChannelStalledLog(t *testing.T) {
	s := redistest.New(t)
	c, goOn := stalled(t, s)
	s.Do("PUBLISH", "a", "one")
	waittest.UntilEqual(t, "messages", 1, func() int { return count(c.Metrics.messages["channel"]) })
	s.Do("CLIENT", "KILL", "TYPE", "pubsub")
	waittest.UntilEqual(t, "breaks", 1, func() int { return count(c.Metrics.breaks) })
	receiving(t, s)
	s.Do("PUBLISH", "b", "two")
	waittest.UntilEqual(t, "messages", 2, func() int { return count(c.Metrics.messages["channel"]) })
	close(goOn)
	waitAll(t, c.log, "one\ntwo\n")
}

// TestChannelMemory: what waits costs about as much memory as it may, also if short messages come from
// channels with long names in turn.
func TestChannelMemory(t *testing.T) {
	s := redistest.New(t, "client-output-buffer-limit pubsub 0 0 0")
	runtime.GC()
	before := heap()
	c, goOn := stalled(t, s)
	for range 4 {
		s.Do("EVAL", `for i=1,100000 do redis.call('PUBLISH', ARGV[1]..(i%2), 'x') end`, "0", strings.Repeat("c", 240))
	}
	waittest.UntilEqual(t, "messages", 400_000, func() int { return count(c.Metrics.messages["channel"]) })
	runtime.GC()
	if got := heap() - before; int(got) > 2*c.Channels.Pending {
		t.Errorf("%d MiB are held, for %d MiB of messages that may wait", got>>20, c.Channels.Pending>>20)
	}
	if count(c.Metrics.dropped) == 0 {
		t.Error("nothing was dropped: there were too few messages")
	}
	close(goOn)
}
