package tail

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// chained makes a rig send batches of a few kibibytes over a way out that keeps their order.
func chained(r *rig) *appendertest.Ordered {
	o := appendertest.NewOrdered(r.collector)
	r.change = func(t *Tailer) {
		t.Out, t.MaxLine, t.BatchBytes, t.Refused = o, 2<<10, 2<<10, time.Millisecond
	}
	return o
}

// manyLines is n lines of 100 bytes, about 60 to a batch.
func manyLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%06d-%s\n", i, strings.Repeat(string(rune('a'+i%26)), 92))
	}
	return b.String()
}

// spaced is a text as collector.lines has it.
func spaced(text string) string { return strings.Join(strings.Fields(text), " ") }

// TestTwoOnTheirWay: the second batch of a file is sent before the first one has an answer, where the file has
// more than one.
func TestTwoOnTheirWay(t *testing.T) {
	r := newRig(t)
	o := chained(r)
	o.Pairs = true
	text := manyLines(1000)
	r.append("a.log", text).run().expect(spaced(text)).append("a.log", "more\n").expect(spaced(text) + " more")
	if n := o.AtMost(); n != wire.MaxChain {
		t.Errorf("%d batches were on their way", n)
	}
}

// TestFewLinesAreNotChained: a batch that is not full waits for the answer, and takes along what comes meanwhile.
func TestFewLinesAreNotChained(t *testing.T) {
	r := newRig(t)
	o := chained(r)
	want := ""
	r.run()
	for i := range 200 {
		want += fmt.Sprintf(" %d", i)
		r.append("a.log", fmt.Sprintf("%d\n", i))
	}
	r.expect(want[1:])
	if n := o.AtMost(); n != 1 {
		t.Errorf("%d batches were on their way", n)
	}
}

// TestOneBlockOfMemory: a file for which there is memory for one batch only is sent, one batch at a time.
func TestOneBlockOfMemory(t *testing.T) {
	r := newRig(t)
	o := chained(r)
	change := r.change
	r.change = func(t *Tailer) { change(t); t.Memory = 6 << 10 }
	text := manyLines(1000)
	r.append("a.log", text).run().expect(spaced(text))
	if n := o.AtMost(); n != 1 {
		t.Errorf("%d batches were on their way", n)
	}
}

// TestTwoFailAtEachCall: one of the calls to the collector fails, before the batch is kept or after it, with another
// batch behind it on its way. Each line is kept once, in order.
func TestTwoFailAtEachCall(t *testing.T) {
	text := manyLines(700)
	for _, stored := range []bool{true, false} {
		for at := 1; ; at++ {
			r, calls, failed := newRig(t), 0, false
			chained(r)
			fail := func(now bool) func(wire.Batch) error {
				return func(b wire.Batch) error {
					if !now {
						return nil
					}
					if calls++; calls == at {
						failed = true
						return errors.New("no answer")
					}
					return nil
				}
			}
			r.collector.fail, r.collector.failing = fail(!stored), fail(stored)
			r.append("a.log", text).run().expect(spaced(text))
			r.halt()
			if !failed {
				break
			}
		}
	}
}

// TestTwoKilledAtEachCall: the agent is killed at each of its calls to the collector, with two batches on their way,
// with its state or without. The next agent sends the rest.
func TestTwoKilledAtEachCall(t *testing.T) {
	text := manyLines(700)
	for _, lost := range []bool{true, false} {
		for _, stored := range []bool{true, false} {
			atEachCall(t, 1, func(at int) bool {
				k := &killed{rig: newRig(t), at: at, stored: stored}
				chained(k.rig)
				k.arm()
				k.append("a.log", text).run()
				k.settle(text)
				if !k.end() {
					return false
				}
				if lost {
					k.state = t.TempDir()
				}
				k.collector.fail, k.collector.failing = nil, nil
				k.run().expect(spaced(text))
				k.halt()
				return true
			})
		}
	}
}

// TestTwoRefused: what is behind a refused batch is sent when that one is accepted, and not before.
func TestTwoRefused(t *testing.T) {
	r := newRig(t)
	chained(r)
	text := manyLines(700)
	refused := 0
	r.collector.fail = func(b wire.Batch) error {
		if strings.Contains(string(b.Text), "000200-") && refused < 3 {
			refused++
			return &wire.Refused{Reason: "not now"}
		}
		return nil
	}
	r.append("a.log", text).run().expect(spaced(text))
	if refused != 3 {
		t.Errorf("refused %d times", refused)
	}
}

// TestTruncatedUnderTwo: a file is copied and truncated while two of its batches are on their way. Each line is kept
// once, those that were not sent from the copy.
func TestTruncatedUnderTwo(t *testing.T) {
	r := newRig(t)
	o := chained(r)
	hold := make(chan struct{})
	text := manyLines(700)
	r.collector.fail = func(b wire.Batch) error {
		if b.Op == wire.OpData {
			<-hold
		}
		return nil
	}
	r.append("a.log", text).run()
	select {
	case <-o.Another():
	case <-time.After(waittest.Limit):
		t.Fatal("no two batches were on their way")
	}
	b, err := os.ReadFile(r.path("a.log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path("a.log.1"), b, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(r.path("a.log"), 0); err != nil {
		t.Fatal(err)
	}
	r.append("a.log", "after the truncation\n")
	close(hold)
	r.expectSet(text + "after the truncation\n")
}

// TestSentIsTheEndOfTheLast: while the second batch is on its way and the first one is acknowledged, what may be in the log ends
// with the second one: copies and truncations are compared with that.
func TestSentIsTheEndOfTheLast(t *testing.T) {
	r := newRig(t)
	chained(r).Pairs = true // the first one is answered when the second one has come
	hold := make(chan struct{})
	r.collector.fail = func(b wire.Batch) error {
		if b.Op == wire.OpData && b.Offset > 0 {
			<-hold
		}
		return nil
	}
	text := manyLines(150) // two batches and a half
	r.append("a.log", text).run()
	r.await(func() bool {
		list := r.tailer.Status()
		return len(list) == 1 && list[0].Acked > 0
	})
	r.tailer.mu.Lock()
	for _, f := range r.tailer.followers {
		if acked, sent := f.acknowledged(), f.lastSent().Offset; sent <= acked {
			t.Errorf("acknowledged up to %d, and sent up to %d", acked, sent)
		}
	}
	r.tailer.mu.Unlock()
	close(hold)
	r.expect(spaced(text))
}
