package collector

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/cluster"
	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// What the bucket says of a group is never ahead of what its workers have finished: not while one of them has
// a line, and is not done with it.
func TestNotedBehindWorkers(t *testing.T) {
	s := natstest.New(t)
	a := startTestMember(t, s, t.TempDir())
	shared(t, a, testPartitions)
	f := newFeed(t, s.Connect())
	f.send(t, 1)
	var holds atomic.Bool
	handle := func(ctx context.Context, _ *worker.Delivery) error {
		for holds.Load() && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		return ctx.Err()
	}
	l := ledgerOf(t, []worker.Worker{{Address: a.workAddress(t), Handle: handle,
		Options: protocol.Hello{Group: "mail", From: "start"}}})
	waittest.UntilEqual(t, "the first lines", feedSources, l.had)
	time.Sleep(2 * noteEvery)
	before := f.noted(t, "mail")
	holds.Store(true)
	f.send(t, 1)
	time.Sleep(2 * noteEvery)
	if now := f.noted(t, "mail"); now != before {
		t.Errorf("%s while a worker has lines, %s before", now, before)
	}
	holds.Store(false)
	waittest.UntilEqual(t, "the other lines", 2*feedSources, l.had)
	waittest.Until(t, "the bucket to have how far the group is", func() bool { return f.noted(t, "mail") != before })
	l.check(t)
}

// noted is how far a group is in all partitions, as the bucket has it.
func (f *feed) noted(t *testing.T, group string) (all string) {
	t.Helper()
	kv, err := f.js.KeyValue(t.Context(), "fanin-LOGS")
	if err != nil {
		t.Fatal(err)
	}
	for p := range testPartitions {
		var g cluster.Group
		e, err := kv.Get(t.Context(), fmt.Sprintf("group.%d.%s", p, group))
		if err == nil {
			err = json.Unmarshal(e.Value(), &g)
		}
		if err != nil {
			t.Fatal(err)
		}
		all += fmt.Sprintf("%d:%s ", p, g.Done)
	}
	return all
}
