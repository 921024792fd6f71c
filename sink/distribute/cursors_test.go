package distribute

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fanin/internal/disk"
	"fanin/sink"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

var update = flag.Bool("update", false, "write the golden file")

func example() []*saved {
	return []*saved{
		{name: "mail", next: sink.Position{Generation: 3, Offset: 4096},
			waiting: spans{{2, 100, 200, 3, 1}, {3, 0, 1 << 33, 70_000, 0}},
			dead:    []*deadSpan{{span: span{2, 0, 50, 1, 5}, Reason: "exit status 1", Worker: "w-1", Time: time.UnixMicro(1795366800123456).UTC()}},
			counts:  groupCounts{Accepted: 1 << 40, Redelivered: 3, Dead: 2, Expired: 1}, deadEnd: 777},
		{name: "new", next: sink.Position{Generation: 1}},
	}
}

// TestCursorsGolden pins the format, and reads it back.
func TestCursorsGolden(t *testing.T) {
	b := []byte{0x92}
	for _, s := range example() {
		b = s.append(b)
	}
	const path = "testdata/cursors.golden"
	if *update {
		if err := os.WriteFile(path, []byte(hex.Dump(b)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || string(want) != hex.Dump(b) {
		t.Errorf("%v; it is\n%swant\n%s", err, hex.Dump(b), want)
	}
	if got, err := decodeGroups(b); err != nil || !reflect.DeepEqual(got, example()) {
		t.Errorf("read as %+v, %v", got, err)
	}
	for i := range b {
		if _, err := decodeGroups(b[:i]); err == nil {
			t.Errorf("its first %d bytes are taken for all", i)
		}
	}
}

// FuzzCursors: no bytes cause a panic, and what was read is written in the same way.
func FuzzCursors(f *testing.F) {
	b := []byte{0x92}
	for _, s := range example() {
		b = s.append(b)
	}
	f.Add(b)
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		checkCursors(b)
		groups, err := decodeGroups(b)
		if err != nil {
			return
		}
		for _, s := range groups {
			one, err := decodeGroups(s.append([]byte{0x91}))
			if err != nil || !reflect.DeepEqual(one[0], s) {
				t.Errorf("%+v was written and read as %+v, %v", s, one, err)
			}
		}
	})
}

// TestCursorsTorn: a file that a crash left half leaves the other; if both are
// damaged, lines come again rather than never, and that is said; those of
// another log are not taken.
func TestCursorsTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.log")
	b := open(t, path, &sink.Sink{Sync: "commit", Retention: sink.RetentionPolicy{Compress: "none"}}, Settings{})
	b.putMany(0, 100)
	c := b.raw(protocol.Hello{Group: "g", From: "start"})
	f := c.hear(protocol.KindLines)
	for i := range 5 {
		c.say(protocol.Frame{Kind: protocol.KindAck, N: f.N, From: i * 10, To: i*10 + 10})
		c.hear(protocol.KindAccepted)
	}
	work := filepath.Join(sink.StateDir(path), workDir)
	kept := copyDir(t, work)
	b.down()
	newest := ""
	for i, best := 0, uint64(0); i < 2; i++ {
		name := filepath.Join(kept, []string{"cursors-0", "cursors-1"}[i])
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		seq, ok := checkCursors(text)
		if !ok {
			t.Fatalf("%s is not whole", name)
		}
		if seq > best {
			newest, best = name, seq
		}
	}
	again := func(damage func()) GroupStatus {
		t.Helper()
		damage()
		os.RemoveAll(work)
		if err := os.CopyFS(work, os.DirFS(kept)); err != nil {
			t.Fatal(err)
		}
		b := open(t, path, &sink.Sink{Sync: "commit", Retention: sink.RetentionPolicy{Compress: "none"}}, Settings{})
		defer b.down()
		if b.group("g").Group == "" {
			var l tally
			stop := b.work(&worker.Worker{Options: protocol.Hello{Group: "g"}, Handle: func(_ context.Context, d *worker.Delivery) error { l.note(b, d); return nil }})
			defer stop()
			b.wait("the group", func() bool { return b.group("g").Group != "" })
			b.done("g")
		}
		return b.group("g")
	}
	flip := func(name string, at int) func() {
		return func() {
			text, _ := os.ReadFile(name)
			text[at] ^= 1
			os.WriteFile(name, text, 0o640)
		}
	}
	if g := again(func() {}); g.Accepted != 50 || g.LagLines != 50 {
		t.Errorf("undamaged: %+v", g)
	}
	if g := again(flip(newest, 50)); g.Accepted != 40 || g.LagLines != 60 {
		t.Errorf("with the newest damaged: %+v", g)
	}
	older := filepath.Join(kept, "cursors-0")
	if older == newest {
		older = filepath.Join(kept, "cursors-1")
	}
	if g := again(flip(older, 50)); g.Accepted < 100 {
		t.Errorf("with both damaged, all lines come again: %+v", g)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), "fanin: CURSORS") {
		t.Errorf("that both are damaged is not said in the log: %v", err)
	}
}

// TestCursorsCannotBeSaved: no answer is accepted before it is durable.
func TestCursorsCannotBeSaved(t *testing.T) {
	for _, op := range []disk.Op{disk.OpWrite, disk.OpSync} {
		var broken atomic.Bool
		s := &sink.Sink{Sync: "commit", Retention: sink.RetentionPolicy{Compress: "none"}, Disk: &disk.Disk{Fault: func(o disk.Op, p string) (int, error) {
			if broken.Load() && o == op && strings.Contains(p, "cursors-") {
				return 3, syscall.ENOSPC
			}
			return 0, nil
		}}}
		b := open(t, filepath.Join(t.TempDir(), "all.log"), s, Settings{})
		b.putMany(0, 10)
		c := b.raw(protocol.Hello{Group: "g", From: "start"})
		f := c.hear(protocol.KindLines)
		broken.Store(true)
		c.say(protocol.Frame{Kind: protocol.KindAck, N: f.N, To: -1})
		b.wait("the answer", func() bool { return b.group("g").Accepted == 10 })
		c.nc.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if f, err := c.r.Frame(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%s fails, and the worker is told %+v, %v", op, f, err)
		}
		broken.Store(false)
		// The reader was cut off in the middle of nothing: it can go on.
		c.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
		c.r = protocol.NewReader(c.nc, 4096)
		if a := c.hear(protocol.KindAccepted); a.N != f.N || a.To != 10 {
			t.Errorf("%+v", a)
		}
	}
}

// TestExpireIsSaved: what a group abandons is durable before the file is removed. Otherwise
// it would be abandoned again after a crash, when it can no longer be counted.
func TestExpireIsSaved(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "all.log"), &sink.Sink{Sync: "commit", Retention: sink.RetentionPolicy{Compress: "none"}}, Settings{})
	if _, err := b.dist.findOrCreate("g", "start", netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	b.putMany(0, 100)
	if _, err := b.sink.Rotate(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.putMany(100, 150)
	all := b.sink.Status().Generations
	if err := b.dist.expire(context.Background(), all[0], all[1]); err != nil {
		t.Fatal(err)
	}
	var newest []byte
	best := uint64(0)
	for i := range 2 {
		text, err := os.ReadFile(b.dist.cursors.path(i))
		if err != nil {
			t.Fatal(err)
		}
		if seq, ok := checkCursors(text); ok && seq > best {
			newest, best = text, seq
		}
	}
	if newest == nil {
		t.Fatal("nothing was saved")
	}
	groups, err := decodeGroups(newest[cursorsHeader:])
	if err != nil || len(groups) != 1 || groups[0].next != (sink.Position{Generation: all[1].Number}) || groups[0].counts.Expired != 100 {
		t.Errorf("saved is %+v, %v", groups, err)
	}
}

// TestExpireAfterAnError: while the lines that expire cannot be counted, none of them is
// abandoned: neither those that were never handed out, nor those that go out again.
func TestExpireAfterAnError(t *testing.T) {
	var unreadable atomic.Bool
	k := &sink.Sink{Sync: "none", Disk: &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if unreadable.Load() && op == disk.OpOpen && strings.HasSuffix(path, ".gz") {
			return 0, syscall.EIO
		}
		return 0, nil
	}}}
	b := open(t, filepath.Join(t.TempDir(), "all.log"), k, Settings{Retry: time.Hour})
	b.putMany(0, 100)
	c := b.raw(protocol.Hello{Group: "g", From: "start", Credit: 40, Batch: 20})
	first, second := c.hear(protocol.KindLines), c.hear(protocol.KindLines)
	c.say(protocol.Frame{Kind: protocol.KindCredit, Credit: 0})
	c.say(protocol.Frame{Kind: protocol.KindNack, N: first.N, From: 0, To: 20, Reason: "delayed for an hour"})
	c.say(protocol.Frame{Kind: protocol.KindRelease, N: second.N, From: 0, To: 20})
	b.wait("all lines to be back", func() bool { g := b.group("g"); return g.Waiting == 40 && g.InFlight == 0 })
	for range 2 { // the newest rotated file is not compressed
		if _, err := b.sink.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.putMany(100, 101)
	}
	b.wait("the archive", func() bool { return strings.HasSuffix(b.sink.Status().Generations[0].Name, ".gz") })
	before := b.group("g")
	all := b.sink.Status().Generations
	unreadable.Store(true)
	if err := b.dist.expire(t.Context(), all[0], all[1]); !errors.Is(err, syscall.EIO) {
		t.Fatalf("the count ended with %v, and the file cannot be read", err)
	}
	unreadable.Store(false)
	after := b.group("g")
	if after.LagSeconds = before.LagSeconds; !reflect.DeepEqual(after, before) {
		t.Errorf("after the error the group is %+v, was %+v", after, before)
	}
	c.say(protocol.Frame{Kind: protocol.KindCredit, Credit: 20}) // and it goes on
	if again := c.hear(protocol.KindLines); again.Runs[0] != second.Runs[0] {
		t.Errorf("handed out next are %v, want the released lines %v", again.Runs, second.Runs)
	}
	if err := b.dist.expire(t.Context(), all[0], all[1]); err != nil {
		t.Fatal(err)
	}
	if after := b.group("g"); after.Expired != 80 || after.Waiting != 0 || after.InFlight != 20 {
		t.Errorf("after all expired, but for 20 lines in flight, the group is %+v", after)
	}
}

// TestDirectoryIsDurable: the directory of the cursors is durable in the state directory
// before anything is accepted.
func TestDirectoryIsDurable(t *testing.T) {
	var mu sync.Mutex
	var ops []string
	path := filepath.Join(t.TempDir(), "all.log")
	open(t, path, &sink.Sink{Sync: "commit", Retention: sink.RetentionPolicy{Compress: "none"}, Disk: &disk.Disk{Fault: func(op disk.Op, p string) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		ops = append(ops, string(op)+" "+p)
		return 0, nil
	}}}, Settings{})
	mu.Lock()
	defer mu.Unlock()
	state := sink.StateDir(path)
	made := slices.Index(ops, "mkdir "+filepath.Join(state, workDir))
	if made < 0 || !slices.Contains(ops[made:], "sync "+state) {
		t.Errorf("%q", ops)
	}
}
