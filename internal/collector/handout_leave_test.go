package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	"fanin/internal/cluster"
	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/sink/distribute"
)

// A member that stops, and does not come back, keeps no group: when a group had finished what the member had,
// the next owners hand out what comes.
func TestWorkersWhenMemberLeaves(t *testing.T) {
	s := natstest.New(t)
	f := newFeed(t, s.Connect())
	var l *ledger
	_, b := twoMembers(t, s, f, func(a *testMember) {
		l = newLedger(t, a.workAddress(t), "mail", 2)
		waittest.UntilEqual(t, "the first lines", feedSources*f.n, l.had)
	})
	f.send(t, 10)
	waittest.UntilEqual(t, "the lines of both", feedSources*f.n, l.had)
	b.end(t)
	f.send(t, 10)
	waittest.UntilEqual(t, "the lines of the member that is left", feedSources*f.n, l.had)
	l.check(t)
}

// A replay writes a group's record again that its owner has changed, and none that was forgotten, or moved.
func TestReplacedRecord(t *testing.T) {
	seen := cluster.Group{ID: "a", Epoch: 3}
	for name, x := range map[string]struct {
		now       cluster.Group
		forgotten bool
		want      error
	}{
		"not seen to change yet": {seen, false, nil},
		"moved on":               {cluster.Group{ID: "a", Epoch: 4}, false, nil},
		"forgotten":              {cluster.Group{}, true, distribute.ErrNoGroup},
		"moved by a replay":      {cluster.Group{ID: "b"}, false, cluster.ErrGroupChanged},
		"lost with the bucket":   {cluster.Group{}, false, cluster.ErrGroupChanged},
	} {
		if err := stays(seen, x.now, x.forgotten); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
}

// So it is when notes of how far the group is come in between, and none of them is of the end.
func TestWorkersWhenNotedMemberLeaves(t *testing.T) {
	s := natstest.New(t)
	f := newFeed(t, s.Connect())
	var l *ledger
	_, b := twoMembers(t, s, f, func(a *testMember) {
		l = newLedger(t, a.workAddress(t), "mail", 2)
		waittest.UntilEqual(t, "the first lines", feedSources*f.n, l.had)
	})
	f.send(t, 10)
	waittest.UntilEqual(t, "the lines of both", feedSources*f.n, l.had)
	ctx, stop := context.WithTimeout(t.Context(), finishWithin/2)
	defer stop()
	var noting sync.WaitGroup
	for p := range testPartitions {
		noting.Go(func() { f.note(ctx, fmt.Sprintf("group.%d.mail", p)) }) // ends with ctx
	}
	b.end(t)
	noting.Wait()
	f.send(t, 10)
	waittest.UntilEqual(t, "the lines of the member that is left", feedSources*f.n, l.had)
	l.check(t)
}

// note writes again and again in a group's record that the group has finished next to nothing.
func (f *feed) note(ctx context.Context, key string) {
	kv, err := f.js.KeyValue(ctx, "fanin-LOGS")
	if err != nil {
		return
	}
	for i := 0; ctx.Err() == nil; i++ {
		var g cluster.Group
		e, err := kv.Get(ctx, key)
		if err != nil || json.Unmarshal(e.Value(), &g) != nil {
			continue
		}
		g.Done = fmt.Sprintf("0:%d", i%2)
		text, _ := json.Marshal(g)
		_, _ = kv.Update(ctx, key, text, e.Revision()) // another member may have changed it
	}
}
