package tail

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fanin/internal/disk"
	"fanin/internal/disk/disktest"
	"fanin/internal/wire"
)

// TestCrashAtEveryAccess stops the machine at each access to the saved positions. They are
// whole after each crash, those that were saved are there, and none is ahead of
// what was acknowledged.
func TestCrashAtEveryAccess(t *testing.T) {
	disktest.EachAccess(t, 4, func(t *testing.T, n int64, seed uint64) bool {
		ended := crashPositions(t, true, n, seed)
		return crashPositions(t, false, n, seed) && ended
	})
}

func crashPositions(t *testing.T, cut bool, n int64, seed uint64) (ended bool) {
	where := fmt.Sprintf("power cut %v, access %d, seed %d", cut, n, seed)
	d := disktest.New(t)
	defer d.Remove()
	dir := filepath.Join(d.Dir, "lib", "agent")
	log := slog.New(slog.DiscardHandler)
	ids := []wire.StreamID{wire.NewStreamID(), wire.NewStreamID(), wire.NewStreamID()}
	saved, put := int64(0), int64(0)
	work := func(rounds int) {
		m, first, err := openPositions(d.Under, dir, log)
		if err != nil {
			if !d.Stopped() {
				t.Fatalf("%s: %v", where, err)
			}
			return
		}
		if first != (len(m.list) == 0) || first && saved > 0 {
			t.Fatalf("%s: first %v with %d marks, saved were %d", where, first, len(m.list), saved)
		}
		for _, id := range ids {
			x := m.list[id]
			if x == nil && saved > 0 {
				t.Fatalf("%s: a mark is gone", where)
			}
			if x != nil && (x.Offset < saved || x.Offset > put || x.Tail != wire.Hash(x.Offset)) {
				t.Fatalf("%s: a mark is at %d; saved was %d, acknowledged %d", where, x.Offset, saved, put)
			}
		}
		for range rounds {
			put++
			for i, id := range ids {
				x := &savedPosition{Stream: id, Epoch: 1, Point: wire.Point{Offset: put, Tail: wire.Hash(put)}, Log: logID{ids[0], ids[1]}}
				for p := range int64(i * 20) { // long enough for several pages
					x.Trail = append(x.Trail, wire.Point{Offset: p, Tail: 1 << 62})
				}
				m.put(x)
			}
			if m.write(false) != nil {
				return
			}
			saved = put
		}
	}
	crash := func(seed uint64) {
		d.Stop()
		if cut {
			d.Cut(seed)
		} else {
			d.Kill()
		}
	}
	d.StopAt(n, int(seed%3)*2000)
	work(3)
	ended = !d.Stopped()
	if seed%3 == 0 { // a kill before the cut
		d.Stop()
		d.Kill()
		d.StopAt(int64(seed%7)+1, 0)
		work(1)
	}
	crash(seed)
	work(2)
	crash(seed + 1)
	work(1)
	return ended
}

// TestPositionsSurvivePowerCut: the collector has lost its state and the agent's
// machine its power. The saved positions of a process that ended are there, so that nothing
// is sent twice.
func TestPositionsSurvivePowerCut(t *testing.T) {
	d := disktest.New(t)
	r := newRig(t)
	r.state = filepath.Join(d.Dir, "state")
	r.change = func(t *Tailer) { t.Disk = d.Under }
	r.append("a.log", "1\n2\n").run().expect("1 2")
	r.halt()
	d.Cut(0)
	r.collector.life = wire.Welcome{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	r.collector.watermarks = make(map[wire.StreamID]*wire.Watermark)
	r.append("a.log", "3\n").run().expect("1 2 3")
}

// TestOlderLogAndChangedFile: the collector was set back to an older state, and the
// file no longer holds what was sent before its saved position. The saved position is further, and yet
// nothing of what the file holds now is passed over.
func TestOlderLogAndChangedFile(t *testing.T) {
	r := newRig(t).append("a.log", "1\n2\n").run().expect("1 2")
	r.halt()
	r.collector.life.Incarnation = wire.NewStreamID()
	for _, m := range r.collector.watermarks {
		m.Point, m.Trail = wire.Point{Offset: 2, Tail: wire.TailHash([]byte("1\n"))}, nil
	}
	if err := os.Truncate(r.path("a.log"), 2); err != nil {
		t.Fatal(err)
	}
	r.append("a.log", "other\nmore\n").run().expect("1 2 other more")
	if len(r.collector.skips) > 0 {
		t.Errorf("skipped %v", r.collector.skips)
	}
}

// TestPositionsAreTriedAgain: saved positions that could not be written are written later, though
// none of them has changed since.
func TestPositionsAreTriedAgain(t *testing.T) {
	dir, full := t.TempDir(), false
	d := &disk.Disk{Fault: func(op disk.Op, _ string) (int, error) {
		if full && op == disk.OpWrite {
			return 3, syscall.ENOSPC
		}
		return 0, nil
	}}
	m, _, err := openPositions(d, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	id := wire.NewStreamID()
	for _, offset := range []int64{3, 7} {
		if err := m.write(false); err != nil {
			t.Error(err)
		}
		m.put(&savedPosition{Stream: id, Epoch: 1, Point: wire.Point{Offset: offset}, Log: logID{id, id}})
	}
	full = true
	if err := m.write(false); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	full = false
	if err := m.write(false); err != nil {
		t.Error(err)
	}
	again, first, err := openPositions(d, dir, slog.New(slog.DiscardHandler))
	if err != nil || first || again.list[id] == nil || again.list[id].Offset != 7 {
		t.Errorf("the saved positions are %+v, %v", again.list, err)
	}
}

// TestSameLogIsBelieved: within one incarnation of the log the collector's watermark decides,
// also where it is behind what this side remembers: lines come again rather than
// never.
func TestSameLogIsBelieved(t *testing.T) {
	r := newRig(t).append("a.log", "1\n2\n").run().expect("1 2")
	r.collector.mu.Lock()
	for _, m := range r.collector.watermarks {
		m.Point, m.Trail = wire.Point{Offset: 2, Tail: wire.TailHash([]byte("1\n"))}, nil
	}
	r.collector.mu.Unlock()
	r.append("a.log", "3\n").expect("1 2 2 3")
	if len(r.collector.skips) > 0 {
		t.Errorf("skipped %v", r.collector.skips)
	}
}

// TestPositionStaysUntilTheEndIsKept: a file is gone and drained, and the collector does
// not take the stream's end. The saved position stays until it does.
func TestPositionStaysUntilTheEndIsKept(t *testing.T) {
	r := newRig(t).append("a.log", "1\n")
	tried := make(chan struct{}, 100)
	r.collector.fail = func(b wire.Batch) error {
		if b.Op == wire.OpEnd {
			tried <- struct{}{}
			return errors.New("not now")
		}
		return nil
	}
	r.run().expect("1")
	if err := os.Remove(r.path("a.log")); err != nil {
		t.Fatal(err)
	}
	<-tried
	r.halt()
	b, err := os.ReadFile(filepath.Join(r.state, "marks"))
	if err != nil {
		t.Fatal(err)
	}
	if list, err := parsePositions(b); err != nil || len(list) != 1 || list[0].Offset != 2 {
		t.Errorf("the saved positions are %+v, %v", list, err)
	}
}

// TestOwnTrail: the collector has forgotten a file, and its end was cut off and
// written anew. It resumes at the last place of its own trail that it still holds,
// not at its start.
func TestOwnTrail(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.MaxLine, t.BatchBytes = 32<<10, 32<<10 }
	var text strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&text, "%d-%s\n", i, strings.Repeat("x", 90))
	}
	all := func(what string) func() bool {
		return func() bool { return strings.HasSuffix(r.collector.lines(), what) }
	}
	r.append("a.log", text.String()).run().await(all("2999-" + strings.Repeat("x", 90)))
	r.halt()
	r.collector.life = wire.Welcome{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	r.collector.watermarks = make(map[wire.StreamID]*wire.Watermark)
	if err := os.Truncate(r.path("a.log"), 200<<10); err != nil {
		t.Fatal(err)
	}
	r.append("a.log", "\nthe-end\n").run().await(all("the-end"))
	again := strings.Count(r.collector.lines(), "-xxx") - 3000
	if lines := 200 << 10 / 90; again < 1 || again > lines/2 {
		t.Errorf("%d lines were sent again, of some %d that are left", again, lines)
	}
	if n := strings.Count(" "+r.collector.lines(), " 0-xxx"); n != 1 {
		t.Errorf("the first line was sent %d times", n)
	}
}
