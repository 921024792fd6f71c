package collector

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// twoMembers are members that share the partitions: all were the first one's, which has lines of each.
func twoMembers(t *testing.T, s *natstest.Server, f *feed, between func(a *testMember)) (a, b *testMember) {
	t.Helper()
	dir := t.TempDir()
	var members [2]*testMember
	for i := range members {
		at := filepath.Join(dir, fmt.Sprint(i))
		if err := os.MkdirAll(at, 0o750); err != nil {
			t.Fatal(err)
		}
		members[i] = startTestMember(t, s, at)
		if i == 0 {
			shared(t, members[0], 4)
			f.send(t, 10)
			between(members[0])
		}
	}
	shared(t, members[0], 2, 2)
	return members[0], members[1]
}

// A log that is open for groups alone is reloaded as others are, and has no input after that either.
func TestReloadOfFormerLog(t *testing.T) {
	s := natstest.New(t)
	f := newFeed(t, s.Connect())
	var open atomic.Bool
	var l *ledger
	a, _ := twoMembers(t, s, f, func(a *testMember) {
		l = ledgerOf(t, []worker.Worker{{Address: a.workAddress(t),
			Options: protocol.Hello{Group: "mail", From: "start", Key: "source"},
			Handle: func(context.Context, *worker.Delivery) error {
				if !open.Load() {
					time.Sleep(10 * time.Millisecond)
					return worker.ErrRelease
				}
				return nil
			}}})
		waittest.Until(t, "the group", func() bool {
			var groups []clusterGroup
			a.ask(t, "GET", "/groups", &groups)
			return len(groups) == 1 && len(groups[0].Partitions) == testPartitions
		})
	})
	waittest.UntilEqual(t, "the logs that are open", testPartitions, func() (n int) {
		for p := range testPartitions {
			if ask(t.Context(), filepath.Join(a.state, fmt.Sprint(p)), "GET", "/ping", nil) == nil {
				n++
			}
		}
		return n
	})
	for p := range testPartitions {
		if err := ask(t.Context(), filepath.Join(a.state, fmt.Sprint(p)), "POST", "/reload", nil); err != nil {
			t.Errorf("reload of partition %d: %v", p, err)
		}
	}
	open.Store(true)
	f.send(t, 10)
	waittest.UntilEqual(t, "the lines", feedSources*f.n, l.had)
	l.check(t)
}

// The bucket of the cluster is deleted while workers ask: the logs know where the group is, so it is not made
// anew, and no line is handed out again that was accepted.
func TestBucketDeletedWhileWorkersAsk(t *testing.T) {
	s := natstest.New(t)
	f := newFeed(t, s.Connect())
	var l *ledger
	a, _ := twoMembers(t, s, f, func(a *testMember) {
		l = newLedger(t, a.workAddress(t), "mail", 2)
		waittest.UntilEqual(t, "the first lines", feedSources*f.n, l.had)
	})
	f.send(t, 10)
	waittest.UntilEqual(t, "the lines of both", feedSources*f.n, l.had)
	ctx, stop := context.WithCancel(t.Context())
	address, asked := a.workAddress(t), make(chan struct{})
	go func() { // ends with stop
		defer close(asked)
		for ctx.Err() == nil { // a worker that starts again and again
			within, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			w := worker.Worker{Address: address, Options: protocol.Hello{Group: "mail", From: "start", Key: "source", Credit: 1},
				Handle: func(context.Context, *worker.Delivery) error { return worker.ErrRelease }}
			w.Run(within)
			cancel()
		}
	}()
	if err := s.JetStream(s.Connect()).DeleteKeyValue(t.Context(), "fanin-LOGS"); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		time.Sleep(time.Second)
		f.send(t, 5)
	}
	waittest.UntilEqual(t, "the lines after that", feedSources*f.n, l.had)
	stop()
	<-asked
	l.checkPromise(t) // an answer may be lost with the connection to a member that has lost its partition
}
