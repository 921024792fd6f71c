package tail

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// collector is the other side: it keeps lines by compare-and-swap, as the
// collector does, in memory.
type collector struct {
	mu         sync.Mutex
	life       wire.Welcome
	watermarks map[wire.StreamID]*wire.Watermark
	ident      map[wire.StreamID][]byte
	order      []string // all lines, as they were kept
	skips      []string
	ended      int
	labels     bool                     // keep the sources of lines, too
	fail       func(b wire.Batch) error // before anything is kept
	failing    func(b wire.Batch) error // after it was kept: the answer is lost
}

func newCollector() *collector {
	return &collector{watermarks: make(map[wire.StreamID]*wire.Watermark), ident: make(map[wire.StreamID][]byte),
		life: wire.Welcome{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}}
}

func (k *collector) welcome() wire.Welcome {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.life
	for id, m := range k.watermarks {
		w.Streams = append(w.Streams, wire.StreamState{Stream: id, Identity: k.ident[id], Watermark: *m})
	}
	return w
}

func (k *collector) Append(ctx context.Context, b wire.Batch) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := cmp.Or(b.Check(), ctx.Err()); err != nil {
		return err
	}
	if k.fail != nil {
		if err := k.fail(b); err != nil {
			return err
		}
	}
	if err := k.append(&b); err != nil {
		return err
	}
	if k.failing != nil {
		return k.failing(b)
	}
	return nil
}

func (k *collector) append(b *wire.Batch) error {
	m := k.watermarks[b.Stream]
	if b.Kind == wire.StreamLossy {
		k.keep(b)
		return nil
	}
	switch {
	case b.Op == wire.OpOpen && m == nil, b.Op == wire.OpOpen && b.Epoch == m.Epoch+1:
		k.watermarks[b.Stream] = &wire.Watermark{Epoch: b.Epoch, Point: wire.Point{Offset: b.Offset, Tail: b.Before}}
		k.ident[b.Stream] = b.Identity
		return nil
	case m == nil && b.Op == wire.OpEnd:
		return nil
	case m == nil:
		return &wire.Expected{}
	case b.Op == wire.OpData && b.Epoch == m.Epoch && b.End == m.Offset && b.After == m.Tail:
		return nil
	case b.Epoch != m.Epoch || b.Offset != m.Offset || b.Before != m.Tail:
		return &wire.Expected{Known: true, Watermark: *m}
	}
	switch b.Op {
	case wire.OpOpen:
		k.ident[b.Stream] = b.Identity
		return nil
	case wire.OpEnd:
		k.ended++
		delete(k.watermarks, b.Stream)
		delete(k.ident, b.Stream)
		return nil
	case wire.OpSkip:
		k.skips = append(k.skips, fmt.Sprintf("%d..%d", b.Offset, b.End))
	}
	k.keep(b)
	m.Trail = append(m.Trail, m.Point)
	m.Trail = m.Trail[max(0, len(m.Trail)-wire.MaxTrail):]
	m.Point = wire.Point{Offset: b.End, Tail: b.After}
	return nil
}

func (k *collector) keep(b *wire.Batch) {
	for labels, text := range b.Runs() {
		for line := range bytes.Lines(text) {
			if b.Joined {
				line = wire.AppendRecordText(nil, line)
			}
			k.order = append(k.order, k.shown(labels)+strings.TrimSuffix(string(line), "\n"))
		}
	}
}

// shown is what is kept of a line's labels.
func (k *collector) shown(l wire.Labels) string {
	if !k.labels {
		return ""
	}
	return l.Source + ":"
}

func (k *collector) lines() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return strings.Join(k.order, " ")
}

// rig is a tailer over a directory, and the collector of its lines.
type rig struct {
	testing.TB
	dir, state string
	collector  *collector
	change     func(*Tailer)
	unwelcome  bool // no collector answers
	polls      atomic.Int64
	tailer     *Tailer
	stop       context.CancelFunc
	done       chan error
}

func newRig(t testing.TB) *rig {
	r := &rig{TB: t, dir: t.TempDir(), state: t.TempDir(), collector: newCollector(), change: func(*Tailer) {}}
	t.Cleanup(r.halt)
	return r
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// run starts a tailer of *.log*, or lets another one take over.
func (r *rig) run() *rig {
	r.halt()
	t := &Tailer{Settings: Settings{Tables: []Table{{Paths: []string{r.path("*.log*")}}}, State: r.state, Out: r.collector,
		Poll: 5 * time.Millisecond, Grace: 60 * time.Millisecond, LetGo: 300 * time.Millisecond, Settle: 2 * time.Second}}
	t.Alive = func() { r.polls.Add(1) }
	r.change(t)
	if !r.unwelcome {
		t.Welcome(r.collector.welcome(), wire.MaxText)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.tailer, r.stop, r.done = t, stop, make(chan error, 1)
	go func() { r.done <- t.Run(ctx) }() // ends by halt
	return r
}

func (r *rig) halt() {
	if r.stop == nil {
		return
	}
	r.stop()
	if err := <-r.done; err != nil && !errors.Is(err, context.Canceled) {
		r.Error(err)
	}
	r.stop = nil
}

func (r *rig) append(name, text string) *rig {
	r.Helper()
	f, err := os.OpenFile(r.path(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		r.Fatal(err)
	}
	return r
}

// expect waits until exactly these lines are kept.
func (r *rig) expect(want string) *rig {
	r.Helper()
	waittest.UntilEqual(r, "the lines", want, r.collector.lines)
	return r
}

// await waits until something is so.
func (r *rig) await(so func() bool) *rig {
	r.Helper()
	waittest.Until(r, "the tailer", so)
	return r
}

// polled waits for n more polls of the tailer: for what must not happen meanwhile.
func (r *rig) polled(n int64) *rig {
	r.Helper()
	end := r.polls.Load() + n
	return r.await(func() bool { return r.polls.Load() >= end })
}

// expectSet waits until these words are kept, each once, in whatever order.
func (r *rig) expectSet(want string) *rig {
	r.Helper()
	set := func(s string) string { w := strings.Fields(s); slices.Sort(w); return strings.Join(w, " ") }
	for end := time.Now().Add(waittest.Limit); set(r.collector.lines()) != set(want); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("too few or too many lines: %.2000s",
				difference(strings.Fields(r.collector.lines()), strings.Fields(want)))
		}
	}
	return r
}

func (r *rig) rename(from, to string) *rig {
	r.Helper()
	if err := os.Rename(r.path(from), r.path(to)); err != nil {
		r.Fatal(err)
	}
	return r
}

func TestFollowsAppends(t *testing.T) {
	r := newRig(t).append("a.log", "1\n2\n").run().expect("1 2")
	r.append("a.log", "3").append("a.log", "4\n5\n").expect("1 2 34 5")
	r.append("b.log", "6\n").expect("1 2 34 5 6")
}

func TestRestart(t *testing.T) {
	for _, keepState := range []bool{true, false} {
		r := newRig(t).append("a.log", "1\n2\n").run().expect("1 2")
		for i := 3; i < 8; i++ {
			r.halt()
			if !keepState {
				r.state = t.TempDir()
			}
			r.append("a.log", fmt.Sprintf("%d\n", i)).run()
			r.expect(strings.TrimSpace("1 2 3 4 5 6 7"[:2*i-1]))
		}
	}
}

func TestRenameRotation(t *testing.T) {
	r := newRig(t).append("a.log", "1\n").run().expect("1")
	for i := 2; i < 12; i += 2 {
		r.append("a.log", fmt.Sprintf("%d\n", i))
		r.rename("a.log", fmt.Sprintf("a.log.%d", i))
		r.append("a.log", fmt.Sprintf("%d\n", i+1))
	}
	r.expectSet("1 2 3 4 5 6 7 8 9 10 11") // of several files: each in its order
}

// TestRotatedWhileDown: the rest of a file that was rotated while no agent ran is sent
// once, and before the file that has its name now.
func TestRotatedWhileDown(t *testing.T) {
	for _, to := range []string{"a.log.1", "old"} {
		r := newRig(t).append("a.log", "1\n").run().expect("1")
		r.halt()
		r.collector.fail = r.collector.later(5, "2")
		r.append("a.log", "2\n").rename("a.log", to).append("a.log", "3\n").run().expect("1 2 3")
		r.polled(20).expect("1 2 3")
	}
}

func TestDeleted(t *testing.T) {
	r := newRig(t).append("a.log", "1\n").run().expect("1")
	r.append("a.log", "2\n3")
	os.Remove(r.path("a.log"))
	r.expect("1 2 3")
	r.append("a.log", "4\n").expect("1 2 3 4")
}

func TestTruncated(t *testing.T) {
	r := newRig(t).append("a.log", "one\ntwo\n").run().expect("one two")
	os.Truncate(r.path("a.log"), 0)
	r.append("a.log", "three\n").expect("one two three")
	// Truncated and grown again beyond where it was, between two looks.
	r.halt()
	os.Truncate(r.path("a.log"), 0)
	r.append("a.log", "four is longer than all before\nfive\n").run()
	r.expect("one two three four is longer than all before five")
}

// TestCopyTruncate: what was not sent when a file was copied and truncated is sent from
// the copy, and before what the file has now.
func TestCopyTruncate(t *testing.T) {
	for _, copyName := range []string{"a.log.1", "copy"} {
		r := newRig(t).append("a.log", "one\ntwo\n").run().expect("one two")
		later := r.collector.later(5, "three")
		r.collector.refuse(func(b wire.Batch) error {
			if _, err := os.Stat(r.path(copyName)); err != nil {
				return errors.New("not before there is a copy")
			}
			return later(b)
		})
		r.append("a.log", "three\n").copyTruncate("a.log", copyName).append("a.log", "four\n")
		r.expect("one two three four").polled(20).expect("one two three four")
	}
}

// TestCopyIsNotSentAgain: a copy of what was sent is not sent. Once the stream has gone
// on in the copy, nothing of it can be sent any more.
func TestCopyIsNotSentAgain(t *testing.T) {
	r := newRig(t).append("a.log", "one\ntwo\n").run().expect("one two")
	b, _ := os.ReadFile(r.path("a.log"))
	os.WriteFile(r.path("a.log.1"), b, 0o640)
	r.await(func() bool { return len(r.tailer.Status()) == 2 }).polled(5) // within the settle time
	os.Truncate(r.path("a.log"), 0)
	r.append("a.log", "three\n").expect("one two three")
	r.drained(2).expect("one two three")
}

func TestLostAnswers(t *testing.T) {
	r := newRig(t)
	n := 0
	r.collector.failing = func(b wire.Batch) error {
		if n++; n%3 == 0 {
			return errors.New("the answer was lost")
		}
		return nil
	}
	r.run()
	var want []string
	for i := range 60 {
		r.append("a.log", fmt.Sprintf("%d\n", i))
		want = append(want, fmt.Sprint(i))
		r.expect(strings.Join(want, " ")) // so that each line is a batch
	}
}

func TestNewIncarnation(t *testing.T) {
	r := newRig(t).append("a.log", "1\n2\n").run().expect("1 2")
	r.halt()
	r.append("a.log", "3\n")
	r.collector.life = wire.Welcome{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	r.collector.watermarks = make(map[wire.StreamID]*wire.Watermark)
	r.run().expect("1 2 3")
	if got := strings.Join(r.collector.skips, " "); got != "0..4" {
		t.Errorf("skipped %q, want 0..4: what the log had in its earlier incarnation", got)
	}
}

func TestFromEnd(t *testing.T) {
	r := newRig(t).append("a.log", "1\n2\npart")
	r.change = func(t *Tailer) { t.Tables[0].FromEnd = true }
	r.run()
	r.await(func() bool { return len(r.tailer.Status()) > 0 })
	r.append("a.log", " done\n").expect("part done")
	r.append("b.log", "new files from their start\n").expect("part done new files from their start")
	r.halt()
	r.append("a.log", "later\n").run().expect("part done new files from their start later")
}

// A long line is sent in parts, none of which ends within a character, and which make
// the line again.
func TestLongLines(t *testing.T) {
	for _, long := range []string{
		strings.Repeat("x", 1000), "x" + strings.Repeat("\u0436", 700), strings.Repeat("\u8a9e", 500), "xy" + strings.Repeat("\U0001f600", 300),
		strings.Repeat("\x80", 1000), strings.Repeat("\xfc\xdf", 500),
	} {
		r := newRig(t)
		r.change = func(t *Tailer) { t.MaxLine = 256 }
		r.append("a.log", "before\n"+long+"\nafter\n").run()
		r.await(func() bool { return strings.HasSuffix(r.collector.lines(), "after") })
		var got strings.Builder
		for _, line := range r.collector.order {
			if len(line) >= 256 || utf8.ValidString(long) && !utf8.ValidString(line) {
				t.Errorf("a line of %d bytes: %q", len(line), line)
			}
			line = strings.TrimPrefix(line, wire.SplitGoesOn)
			if rest, ok := strings.CutSuffix(line, wire.SplitMark); ok {
				got.WriteString(rest)
				continue
			}
			got.WriteString(line + "\n")
		}
		if got.String() != "before\n"+long+"\nafter\n" {
			t.Errorf("the parts make %q", got.String())
		}
		r.halt()
	}
}

func TestLossy(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Lossy = true }
	var first []int64
	r.collector.fail = func(b wire.Batch) error {
		if b.Op == wire.OpData {
			first = append(first, b.FirstLine)
		}
		return nil
	}
	r.append("a.log", "1\n2\n").run().expect("1 2")
	r.append("a.log", "3\n").expect("1 2 3")
	r.halt()
	r.append("a.log", "4\n").run().expect("1 2 3 4")
	if fmt.Sprint(first) != "[0 2 3]" {
		t.Errorf("lines were numbered %v", first)
	}
}

func TestOneFileUnderTwoNames(t *testing.T) {
	r := newRig(t).append("a.log", "1\n")
	os.Link(r.path("a.log"), r.path("b.log"))
	os.Symlink(r.path("a.log"), r.path("c.log"))
	r.run().expect("1")
	r.append("b.log", "2\n").expect("1 2")
}

func TestBigFile(t *testing.T) {
	r := newRig(t)
	var b strings.Builder
	var want []string
	for i := range 60000 {
		line := fmt.Sprintf("line-%d-%s", i, strings.Repeat("y", i%90))
		want = append(want, line)
		b.WriteString(line + "\n")
	}
	r.append("a.log", b.String()+strings.Repeat("\n", 10000)).append("a.log", "end\n").run()
	r.expect(strings.Join(want, " ") + strings.Repeat(" ", 10000) + " end")
}

// TestLargestBatch: a block of the largest batch_size holds no more text than a
// batch may.
func TestLargestBatch(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.BatchBytes, t.Memory = wire.MaxText, 4*wire.MaxText }
	text := strings.Repeat(strings.Repeat("x", 999)+"\n", 3*wire.MaxText/1000)
	most := 0
	r.collector.fail = func(b wire.Batch) error { most = max(most, len(b.Text)); time.Sleep(2 * time.Millisecond); return nil }
	r.append("a.log", text).run().await(func() bool {
		list := r.tailer.Status()
		return len(list) == 1 && list[0].Acked == int64(len(text))
	})
	r.halt()
	if most <= 2<<20 {
		t.Errorf("the largest batch had %d bytes: nothing was tested", most)
	}
}

// TestHalves: over a connection on which large batches always fail, smaller ones
// are sent, and larger ones again when the connection is good.
func TestHalves(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Poll = time.Millisecond }
	text := strings.Repeat(strings.Repeat("x", 999)+"\n", 1000)
	var narrow, largest atomic.Int64
	narrow.Store(40 << 10)
	r.collector.fail = func(b wire.Batch) error {
		if n := narrow.Load(); n > 0 && len(b.Text) > int(n) {
			return errors.New("it took too long")
		}
		largest.Store(max(largest.Load(), int64(len(b.Text))))
		return nil
	}
	arrived := func(n int) {
		t.Helper()
		r.await(func() bool {
			list := r.tailer.Status()
			return len(list) == 1 && list[0].Acked == int64(n)
		})
	}
	r.append("a.log", text).run()
	arrived(len(text))
	if n := largest.Load(); n > 40<<10 {
		t.Errorf("%d bytes went through", n)
	}
	narrow.Store(0)
	r.append("a.log", text+text)
	arrived(3 * len(text))
	if n := largest.Load(); n < 200<<10 {
		t.Errorf("the largest batch afterwards had %d bytes", n)
	}
}

func TestDamagedPositions(t *testing.T) {
	r := newRig(t).append("a.log", "1\n").run().expect("1")
	r.halt()
	b, err := os.ReadFile(filepath.Join(r.state, "marks"))
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	os.WriteFile(filepath.Join(r.state, "marks"), b, 0o640)
	r.append("a.log", "2\n").run().expect("1 2")
	if _, err := os.Stat(filepath.Join(r.state, "marks.damaged")); err != nil {
		t.Error(err)
	}
}

func FuzzPositions(f *testing.F) {
	m := &savedPosition{Stream: wire.NewStreamID(), Epoch: 2, Point: wire.Point{Offset: 9, Tail: 1 << 63}, Trail: []wire.Point{{Offset: 3, Tail: 4}},
		identity:   identity{handle: []byte{1, 2}, path: "/var/log/a b\n"},
		unsentText: unsentText{Former: savedText{End: 9, Seen: 1, Path: "/var/log/a b\n"}}}
	f.Add(formatPositions([]*savedPosition{m}, true))
	f.Add([]byte(positionsHeader + "\n"))
	f.Add([]byte("fanin-marks 1\n00000000 {}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parsePositions(b)
		if err != nil {
			return
		}
		again, err := parsePositions(formatPositions(list, false))
		if err != nil || len(again) > len(list) {
			t.Fatalf("%d marks were read as %d: %v", len(list), len(again), err)
		}
	})
}

func FuzzIdentity(f *testing.F) {
	id := identity{handle: []byte("abc"), device: 1, inode: 2, path: "/var/log/x"}
	f.Add(id.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := parseIdentity(b)
		if err == nil && len(id.append(nil)) > wire.MaxIdentity && len(b) <= wire.MaxIdentity {
			t.Fatal("an identity grew")
		}
	})
}
