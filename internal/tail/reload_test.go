package tail

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"fanin/internal/wire"
)

// tables makes tables of patterns in the rig's directory, one each.
func (r *rig) tables(patterns ...string) (all []Table) {
	for _, p := range patterns {
		all = append(all, Table{Paths: []string{r.path(p)}})
	}
	return all
}

// TestReload: new files are followed, those of a removed table are drained and let go, and continue
// where they were when it is back, also after a restart or under another name.
func TestReload(t *testing.T) {
	for _, meanwhile := range []string{"nothing", "restart", "rename", "rotation"} {
		r := newRig(t).append("a.log", "1\n").append("b.txt", "2\n")
		r.change = func(t *Tailer) { t.Tables = r.tables("a.log*") }
		r.run().expect("1")
		r.tailer.Reload(r.tables("a.log*", "b.txt"))
		r.expect("1 2")
		r.collector.refuse(func(wire.Batch) error { return errors.New("not yet") })
		r.append("a.log", "3\n4")
		r.tailer.Reload(r.tables("b.txt"))
		r.polled(5).collector.refuse(nil)
		r.expect("1 2 3").await(func() bool { return len(r.tailer.Status()) == 1 })
		r.append("a.log", "\n5\n").append("b.txt", "6\n").expect("1 2 3 6").polled(10).expect("1 2 3 6")
		next := "1 2 3 6 4 5"
		switch meanwhile {
		case "restart":
			r.change = func(t *Tailer) { t.Tables = r.tables("b.txt") }
			r.run().polled(10).expect("1 2 3 6")
		case "rename":
			r.rename("a.log", "a.log.1").polled(10).expect("1 2 3 6")
		case "rotation":
			r.rename("a.log", "a.log.1").append("a.log", "7\n").polled(10).expect("1 2 3 6")
			next += " 7"
		}
		r.tailer.Reload(r.tables("b.txt", "a.log*"))
		r.expectSet(next).polled(10).expectSet(next)
		r.append("a.log", "8\n").expectSet(next + " 8")
		r.halt()
	}
}

// TestReloadSettings: a file is read as its new table says from the place that is acknowledged, and
// one whose table is the same goes on.
func TestReloadSettings(t *testing.T) {
	r := newRig(t).append("a.log", "1\n").append("b.log", "2\n")
	r.collector.labels = true
	table := func(source string) []Table {
		return []Table{{Paths: []string{r.path("*.log")}, Source: source, Settings: source}}
	}
	r.change = func(t *Tailer) { t.Tables = table("{name}") }
	r.run().expectSet("a:1 b:2")
	r.tailer.Reload(table("x-{name}"))
	r.await(func() bool {
		st := r.tailer.Status()
		return st[0].Source == "x-a" && st[1].Source == "x-b"
	})
	r.append("a.log", "3\n").append("b.log", "4\n").expectSet("a:1 b:2 x-a:3 x-b:4")
	opens := 0
	r.collector.refuse(func(b wire.Batch) error {
		if b.Op == wire.OpOpen {
			opens++
		}
		return nil
	})
	for range 5 {
		r.tailer.Reload(table("x-{name}"))
		r.polled(3)
	}
	r.append("a.log", "5\n").expectSet("a:1 b:2 x-a:3 x-b:4 x-a:5").halt()
	if opens > 0 {
		t.Errorf("%d files were opened again though their table is the same", opens)
	}
}

// TestReloadRemovedAndDeleted: a file that is deleted after its table was removed ends, and one whose
// writer never pauses is let go all the same.
func TestReloadRemovedAndDeleted(t *testing.T) {
	r := newRig(t).append("a.log", "1\n").append("b.log", "2\n")
	r.change = func(t *Tailer) { t.Tables = r.tables("a.log", "b.log") }
	r.run().expectSet("1 2")
	r.collector.refuse(func(wire.Batch) error { return errors.New("not yet") })
	r.append("a.log", "3\n")
	r.tailer.Reload(r.tables("b.log"))
	r.polled(5)
	os.Remove(r.path("a.log"))
	r.polled(5).collector.refuse(nil)
	r.expectSet("1 2 3").await(func() bool { return r.ended() == 1 })
	r.collector.refuse(func(b wire.Batch) error {
		if b.Op == wire.OpData {
			r.append("b.log", "x\n") // whenever it is acknowledged, there is more
		}
		return nil
	})
	r.append("b.log", "x\n").polled(5)
	r.tailer.Reload(r.tables("none"))
	r.await(func() bool { return len(r.tailer.Status()) == 0 })
}

// seed returns the seed of a random test, which FANIN_SEED sets. A test that fails says it, and what it did.
func (r *rig) seed() (seed uint64, did func(format string, args ...any)) {
	seed = rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("FANIN_SEED"), 10, 64); err == nil {
		seed = s
	}
	log := &record{}
	follow := r.change
	r.change = func(t *Tailer) {
		follow(t)
		t.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	r.Cleanup(func() {
		if r.Failed() {
			r.Logf("FANIN_SEED=%d\n%s", seed, log.text.String())
		}
	})
	return seed, func(format string, args ...any) { fmt.Fprintf(log, "   "+format+"\n", args...) }
}

// TestReloads: over a hundred reloads that add, remove and change tables, with files that grow and
// are rotated meanwhile, and restarts, each line is sent once and in order.
func TestReloads(t *testing.T) {
	r := newRig(t)
	var set []Table
	r.change = func(t *Tailer) { t.Tables = set }
	seed, did := r.seed()
	random := rand.New(rand.NewPCG(1, seed))
	sets := [][]Table{
		r.tables("a.log*", "b.log*", "c.log*"), r.tables("b.log*"), r.tables("none"), r.tables("*.log*"), r.tables("{a,c}.log*"),
	}
	for i := range 3 {
		x := r.tables("*.log*")
		x[0].Source, x[0].Settings = fmt.Sprint("s", i), fmt.Sprint(i)
		sets = append(sets, x)
	}
	set = sets[0]
	r.run()
	var want []string
	rotated := map[string]int{}
	for i := range 110 {
		for range random.IntN(4) {
			name := string("abc"[random.IntN(3)])
			line := fmt.Sprintf("%s%d", name, len(want))
			want = append(want, line)
			r.append(name+".log", line[:1]).append(name+".log", line[1:]+"\n")
			did("write %s", line)
			if random.IntN(6) == 0 {
				rotated[name]++
				did("rotate %s.log to %d", name, rotated[name])
				r.rename(name+".log", fmt.Sprintf("%s.log.%d", name, rotated[name]))
			}
		}
		set = sets[random.IntN(len(sets))]
		did("reload %s %s", filepath.Base(set[0].Paths[0]), set[0].Source)
		r.tailer.Reload(set)
		if random.IntN(3) > 0 {
			r.polled(int64(random.IntN(4)))
		}
		if i%25 == 24 {
			did("restart")
			r.run()
		}
	}
	r.tailer.Reload(sets[0])
	r.expectSet(strings.Join(want, " ")).polled(10).expectSet(strings.Join(want, " "))
	last := map[byte]int{}
	for _, line := range strings.Fields(r.collector.lines()) {
		var n int
		fmt.Sscan(line[1:], &n)
		if n < last[line[0]] && rotated[line[:1]] == 0 {
			t.Errorf("%s comes after %d", line, last[line[0]])
		}
		last[line[0]] = n
	}
}

// TestReloadContainers: lines of a container that are open while its table is removed, and rotated
// meanwhile, are whole when the table is back.
func TestReloadContainers(t *testing.T) {
	for round := range 6 {
		p := newPods(t)
		p.write("0.log", "stdout", "F", "one").run().expect("one")
		tables := p.tailer.Tables
		p.write("0.log", "stdout", "P", "tw")
		if round%2 == 0 {
			p.polled(3)
		}
		p.tailer.Reload(nil)
		if round > 2 {
			p.await(func() bool { return len(p.tailer.Status()) == 0 })
		}
		p.rotate(1).write("0.log", "stdout", "F", "o").write("0.log", "stdout", "F", "three")
		p.polled(int64(round))
		p.tailer.Reload(tables)
		p.write("0.log", "stdout", "F", "four").expect("one two three four").polled(10).expect("one two three four")
		p.halt()
	}
}
