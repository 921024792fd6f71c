package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// chained are the settings of a spool with some segments, each of which is several batches.
func chained(dir string) Settings {
	settings := quick(dir)
	settings.BatchBytes, settings.SyncBytes, settings.Refused = 700, 900, time.Millisecond
	return settings
}

// TestTwoOnTheirWay: the second batch of a segment is sent before the first one has an answer, where there is more
// than one.
func TestTwoOnTheirWay(t *testing.T) {
	m := collector()
	o := appendertest.NewOrdered(m)
	o.Pairs = true
	s := open(t, chained(t.TempDir()))
	fill(t, s, 0, 1000)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.meet(m)
	if err := s.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	checkText(t, m, numbered(0, 1000))
	checkClean(t, s, m)
	if n := o.AtMost(); n != wire.MaxChain {
		t.Errorf("%d batches were on their way", n)
	}
}

// TestFewLinesAreNotChained: a few lines wait for the answer, and those that come meanwhile are sent with them.
func TestFewLinesAreNotChained(t *testing.T) {
	m := collector()
	o := appendertest.NewOrdered(m)
	s := open(t, quick(t.TempDir()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context(), o) }() // ends with the spool
	s.meet(m)
	fill(t, s, 0, 300)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	checkText(t, m, numbered(0, 300))
	if n := o.AtMost(); n != 1 {
		t.Errorf("%d batches were on their way", n)
	}
}

// outage says from which call to the collector on no answer comes, and how many batches are kept though.
type outage struct {
	at, kept int
	kill     func() // with the last of them; nil: the third call comes through again
	calls    int
	over     bool
}

// arm makes the collector fail. Its calls come one by one, since the way out keeps the order.
func (x *outage) arm(m *appendertest.Memory) {
	failed := func() bool { return x.calls >= x.at && (x.kill != nil || x.calls < x.at+2) }
	m.Before = func(context.Context, wire.Batch) error {
		if x.calls++; !failed() {
			return nil
		}
		if x.over = true; x.calls < x.at+x.kept {
			return nil
		}
		if x.kill != nil {
			x.kill()
		}
		return errCut
	}
	m.After = func(_ context.Context, _ wire.Batch, err error) error {
		if !failed() {
			return err
		}
		if x.kill != nil && x.calls == x.at+x.kept-1 {
			x.kill()
		}
		return errCut
	}
}

// TestTwoFailAtEachCall: at each call to the collector in turn, none, one or two batches on their way are kept, and no
// answer comes. Each line is kept once, in order.
func TestTwoFailAtEachCall(t *testing.T) {
	for kept := range 3 {
		for at, over := 1, true; over; at++ {
			synctest.Test(t, func(t *testing.T) {
				m := collector()
				x := outage{at: at, kept: kept}
				x.arm(m)
				s := open(t, chained(t.TempDir()))
				fill(t, s, 0, 250)
				drain(t, s, m)
				checkText(t, m, numbered(0, 250))
				checkClean(t, s, m)
				over = x.over
			})
		}
	}
}

// TestTwoKilledAtEachCall: the process is killed at each call to the collector in turn, with two batches on their way,
// of which none, one or two are kept. The next process, with the saved place or without, sends the rest.
func TestTwoKilledAtEachCall(t *testing.T) {
	for kept := range 3 {
		for _, lost := range []bool{false, true} {
			for at, over := 1, true; over; at++ {
				synctest.Test(t, func(t *testing.T) { over = killAt(t, at, kept, lost) })
			}
		}
	}
}

// killAt reports whether the process was killed before it had sent all.
func killAt(t *testing.T, at, kept int, lost bool) bool {
	m := collector()
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	x := outage{at: at, kept: kept, kill: kill}
	x.arm(m)
	settings := chained(t.TempDir())
	s := open(t, settings)
	fill(t, s, 0, 250)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.meet(m)
	if err := s.Run(ctx, appendertest.NewOrdered(m)); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	m.Before, m.After = nil, nil
	if left, _ := filepath.Glob(filepath.Join(settings.Dir, "*"+suffix)); lost && len(left) > 0 { // else it names the spool
		os.Remove(filepath.Join(settings.Dir, placeName))
	}
	s = open(t, settings)
	fill(t, s, 250, 260)
	drain(t, s, m)
	checkText(t, m, numbered(0, 260))
	checkClean(t, s, m)
	return x.over
}

// TestTwoRefused: what is behind a refused batch is sent when that one is accepted, and not before.
func TestTwoRefused(t *testing.T) {
	m := collector()
	refused := 0
	m.Before = func(_ context.Context, b wire.Batch) error {
		if refused < 3 && strings.Contains(string(b.Text), "line 200\n") {
			refused++
			return &wire.Refused{Reason: fmt.Sprint("not now: ", refused)}
		}
		return nil
	}
	s := open(t, chained(t.TempDir()))
	fill(t, s, 0, 700)
	drain(t, s, m)
	checkText(t, m, numbered(0, 700))
	checkClean(t, s, m)
	if refused != 3 {
		t.Errorf("refused %d times", refused)
	}
}

// TestMemoryWhileAway: while the collector takes no batch, one is read, and during a pause none is kept.
func TestMemoryWhileAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := collector()
		ctx, cancel := context.WithCancel(t.Context())
		away := make(chan error)
		m.Before = func(ctx context.Context, b wire.Batch) error {
			if b.Op != wire.OpData {
				return nil
			}
			select {
			case err := <-away:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		settings := quick(t.TempDir())
		settings.SegmentBytes, settings.BatchBytes = 1<<20, 2*leastRecent
		s := open(t, settings)
		if err := s.Append(ctx, []byte(strings.Repeat("a line\n", leastRecent)), ""); err != nil {
			t.Fatal(err)
		}
		if err := s.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		s.meet(m)
		r := sender{s: s, out: m}
		g, err := s.first(ctx)
		if err != nil {
			t.Fatal(err)
		}
		r.begin(g)
		ended := make(chan error, 1)
		go func() { ended <- r.segment(ctx) }() // ends with ctx
		kept := func(want int) {
			t.Helper()
			synctest.Wait()
			n := 0
			for i := range r.batches {
				if r.batches[i].isLarge() {
					n++
				}
			}
			if n != want {
				t.Errorf("%d batches have memory, want %d", n, want)
			}
		}
		kept(1)
		away <- errCut
		kept(0)
		cancel()
		<-ended
	})
}
