package relay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"fanin/internal/waittest"
	"fanin/sink"
)

// closed are the first closed file of a log, and the file behind it.
func (n *node) closed() (g, next sink.Generation) {
	all := n.sink.Status().Generations
	return all[0], all[1]
}

// relayed is a log of two files; the upstream has the first ten lines of the first, and none of the others.
func relayed(t *testing.T) (edge, up *node) {
	t.Helper()
	keep := sink.RetentionPolicy{Compress: "none"}
	edge, up = open(t, t.TempDir(), "syslog", keep).relay().start(), open(t, t.TempDir(), "syslog", keep).start()
	edge.number(0, 10)
	edge.connect(up, &link{})
	edge.has(up, 0, 10)
	edge.stop()
	edge.stop = func() {}
	edge.number(10, 20)
	edge.rotate()
	edge.number(20, 30)
	return edge, up
}

// Retention abandons a file just when the relay begins to forward: it has not said yet how it is stopped.
func TestExpireWhileBeginning(t *testing.T) {
	edge, _ := relayed(t)
	r := edge.down
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	forwarded, expired := make(chan error, 1), make(chan error, 1)
	r.state.stop = func() { // of what has ended: expire calls it, and holds mu
		r.state.stop = nil
		go func() { forwarded <- r.forward(ctx) }() // ends with ctx
		for r.forwarding.TryLock() {                // until the relay has begun, and waits for mu
			r.forwarding.Unlock()
			runtime.Gosched()
		}
	}
	g, next := edge.closed()
	go func() { expired <- r.expire(context.Background(), g, next) }() // ends with the forwarding, at the latest by cancel
	waittest.Until(t, "what forwards to be stopped", func() bool {
		select {
		case err := <-expired:
			if err != nil {
				t.Error(err)
			}
			return true
		default:
			return false
		}
	})
	cancel()
	<-forwarded
}

// What was counted as lost is not sent, although its file is still there and the upstream is before it.
func TestExpiredStaysLost(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%t", restart), func(t *testing.T) {
			t.Parallel()
			edge, up := relayed(t)
			g, next := edge.closed()
			if err := edge.down.expire(context.Background(), g, next); err != nil {
				t.Fatal(err)
			}
			if n := edge.down.Status().Expired; n != 10 {
				t.Fatalf("%d lines were counted, want 10", n)
			}
			if restart {
				edge = edge.restart(nil)
			}
			edge.connect(up, &link{})
			waittest.Until(t, "the upstream to have all", func() bool { return edge.down.Status().Lag == 0 })
			waittest.Until(t, "the file of the upstream", func() bool { return len(up.numbered()) >= 20 })
			if got := up.numbered(); len(got) != 20 || got[9] != "line 9" || got[10] != "line 20" {
				t.Errorf("the upstream has %q, want 0 to 9 and 20 to 29", got)
			}
			if n := edge.down.Status().Expired; restart != (n == 0) {
				t.Errorf("%d lines were counted", n)
			}
		})
	}
}

// The upstream has all of a file that is gone, and the relay has lost what it saved: no line is lost.
func TestGoneIsNotLost(t *testing.T) {
	keep := sink.RetentionPolicy{Compress: "none"}
	edge, up := open(t, t.TempDir(), "syslog", keep).relay().start(), open(t, t.TempDir(), "syslog", keep).start()
	edge.number(0, 10)
	edge.connect(up, &link{})
	edge.has(up, 0, 10)
	edge.stop()
	edge.stop = func() {}
	edge.rotate()
	edge = edge.restart(func(dir string) {
		files, _ := filepath.Glob(filepath.Join(dir, "all-*.log"))
		if err := errors.Join(os.Remove(files[0]), os.Remove(filepath.Join(dir, "state", fileName))); err != nil {
			t.Fatal(err)
		}
	})
	edge.number(10, 20)
	edge.connect(up, &link{})
	edge.has(up, 0, 20)
	if n := edge.down.Status().Expired; n != 0 {
		t.Errorf("%d lines are counted that the upstream has", n)
	}
}
