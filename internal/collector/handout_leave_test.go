package collector

import (
	"testing"

	"fanin/internal/natstest"
	"fanin/internal/waittest"
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
