package tail

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"fanin/internal/disk/disktest"
	"fanin/internal/wire"
)

// TestCrashAtEveryAccess stops the machine at each access to the marks. They are
// whole after each crash, those that were saved are there, and none is ahead of
// what was acknowledged.
func TestCrashAtEveryAccess(t *testing.T) {
	disktest.EachAccess(t, 4, func(t *testing.T, n int64, seed uint64) bool {
		ended := crashMarks(t, true, n, seed)
		return crashMarks(t, false, n, seed) && ended
	})
}

func crashMarks(t *testing.T, cut bool, n int64, seed uint64) (ended bool) {
	where := fmt.Sprintf("power cut %v, access %d, seed %d", cut, n, seed)
	d := disktest.New(t)
	defer d.Remove()
	dir := filepath.Join(d.Dir, "lib", "agent")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	ids := []wire.StreamID{wire.NewStreamID(), wire.NewStreamID(), wire.NewStreamID()}
	saved, put := int64(0), int64(0)
	work := func(rounds int) {
		m, first, err := openMarks(d.Under, dir, log)
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
				t.Fatalf("%s: a mark stands at %d; saved was %d, acknowledged %d", where, x.Offset, saved, put)
			}
		}
		for range rounds {
			put++
			for i, id := range ids {
				x := &mark{Stream: id, Epoch: 1, Point: wire.Point{Offset: put, Tail: wire.Hash(put)}, Life: logID{ids[0], ids[1]}}
				for p := range int64(i * 20) { // long enough for several pages
					x.Trail = append(x.Trail, wire.Point{Offset: p, Tail: 1 << 62})
				}
				m.put(x)
			}
			if m.save(true) != nil {
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

// TestMarksSurvivePowerCut: the collector has lost its state and the agent's
// machine its power. The marks of a process that ended are there, so that nothing
// is sent twice.
func TestMarksSurvivePowerCut(t *testing.T) {
	d := disktest.New(t)
	r := newRig(t)
	r.state = filepath.Join(d.Dir, "state")
	r.change = func(t *Tailer) { t.Disk = d.Under }
	r.append("a.log", "1\n2\n").run().expect("1 2")
	r.halt()
	d.Cut(0)
	r.keeper.life = wire.Welcome{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	r.keeper.marks = make(map[wire.StreamID]*wire.Watermark)
	r.append("a.log", "3\n").run().expect("1 2 3")
}
