package collector

import (
	"errors"
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
