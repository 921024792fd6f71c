package tail

import (
	"os"
	"testing"
	"time"

	"fanin/internal/wire"
)

// TestLag: the lag of a file that is stuck is exact; that of one that grows all the time
// is that of its oldest waiting bytes, or less.
func TestLag(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var l lag
	for _, step := range []struct {
		second      int
		size, acked int64
		since       int // -1: nothing waits
	}{
		{0, 0, 0, -1},
		{1, 100, 0, 1}, {2, 100, 0, 1}, {3, 200, 0, 1}, {9, 900, 0, 1}, // stuck
		{10, 900, 150, 3}, {11, 950, 250, 10}, {12, 950, 950, -1}, // it goes on: no lag is too long
		{13, 1000, 950, 13}, {14, 1050, 1000, 14}, {15, 1100, 1050, 15}, // always a little behind
		{20, 40, 10, 20}, {21, 40, 40, -1}, // truncated
	} {
		l.saw(step.size, step.acked, at(step.second))
		since := l.since(step.acked)
		if step.since < 0 && !since.IsZero() || step.since >= 0 && !since.Equal(at(step.since)) {
			t.Errorf("at %d: %d of %d bytes wait since %v, want %d", step.second, step.size-step.acked, step.size, since, step.since)
		}
	}
}

// TestStalled: a file whose lines the collector does not answer is stalled, and says for what
// it waits. An unfinished line is no lag, and an answer ends it.
func TestStalled(t *testing.T) {
	r := newRig(t)
	answer := make(chan struct{})
	r.collector.fail = func(b wire.Batch) error {
		if b.Op == wire.OpData {
			r.collector.mu.Unlock()
			<-answer
			r.collector.mu.Lock()
		}
		return nil
	}
	r.append("a.log", "one\ntwo").run()
	r.await(func() bool { return len(r.tailer.Stalled(time.Millisecond)) == 1 })
	st := r.tailer.Status()[0]
	if st.Waiting <= 0 || st.Stalled <= 0 || st.Reason != "waits for the collector's answer" {
		t.Errorf("the status is %+v", st)
	}
	if list := r.tailer.Stalled(time.Hour); len(list) != 0 {
		t.Errorf("stalled for an hour: %+v", list)
	}
	close(answer)
	r.expect("one")
	r.await(func() bool {
		st = r.tailer.Status()[0]
		return st.Waiting == 0 && st.Reason == "its last line has no end yet"
	})
	r.append("a.log", "\n").expect("one two")
	r.await(func() bool { st = r.tailer.Status()[0]; return st.Waiting == 0 && st.Reason == "" })
}

// TestStalledRecord: a record that is complete because nothing more came waits for the collector,
// and not for the end of its last line.
func TestStalledRecord(t *testing.T) {
	r := newRig(t)
	r.change = func(x *Tailer) {
		x.Tables = []Table{{Paths: []string{r.path("a.log")}, Text: digitRecords(700 * time.Millisecond)}}
	}
	answer := make(chan struct{})
	r.collector.fail = func(b wire.Batch) error {
		if b.Op == wire.OpData {
			r.collector.mu.Unlock()
			<-answer
			r.collector.mu.Lock()
		}
		return nil
	}
	r.append("a.log", "1 one\nmore\n").run()
	status := func() FileStatus { return append(r.tailer.Status(), FileStatus{})[0] }
	r.await(func() bool { return status().Reason == "its last record may have more lines" })
	r.await(func() bool {
		st := status()
		return st.Waiting > 0 && st.Stalled > 0 && st.Reason == "waits for the collector's answer"
	})
	close(answer)
	r.await(func() bool { st := status(); return st.Waiting == 0 && st.Reason == "" })
}

// TestStatusUnanswered: before a collector has answered, the status shows the files that were
// followed before, how far they are behind, and for what they wait.
func TestStatusUnanswered(t *testing.T) {
	r := newRig(t)
	r.append("a.log", "one\n").append("b.log", "two\n").run().expectSet("one two").halt()
	r.append("a.log", "three\n")
	if err := os.Remove(r.path("b.log")); err != nil {
		t.Fatal(err)
	}
	r.unwelcome = true
	r.run()
	r.await(func() bool { return len(r.tailer.Status()) == 1 })
	st := r.tailer.Status()[0]
	if st.Path != r.path("a.log") || st.Size-st.Acked != 6 || st.Waiting <= 0 || st.Source != "a" || st.Reason != "waits for the first answer of a collector" {
		t.Errorf("the status is %+v", st)
	}
	r.tailer.Welcome(r.collector.welcome(), wire.MaxText)
	r.expectSet("one three two")
	r.await(func() bool { st = r.tailer.Status()[0]; return st.Waiting == 0 && st.Acked == st.Size })
}
