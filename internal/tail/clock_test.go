//go:build !windows

package tail

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/wire"
)

// clocked is a rig with a simulated clock, which files have, too: what happens between two looks of the
// agent does so each time. It follows *.log.
type clocked struct{ *rig }

// onClock calls f with a rig whose agent runs, and looked just now.
func onClock(t *testing.T, f func(r *clocked)) {
	synctest.Test(t, func(t *testing.T) {
		r := &clocked{newRig(t)}
		r.change = func(t *Tailer) {
			t.Tables = []Table{{Paths: []string{r.path("*.log")}}}
			t.Poll, t.Grace, t.Settle = machinePoll, machineGrace, machineSettle
			t.LetGo, t.Forget, t.StopWait = machineLetGo, machineForget, machineStop
			t.noHints = true
		}
		r.run()
		r.look()
		f(r)
	})
}

// pass lets time pass.
func (r *clocked) pass(d time.Duration) *clocked {
	time.Sleep(d)
	synctest.Wait()
	return r
}

// look lets time pass until just after the next look.
func (r *clocked) look() *clocked { return r.pass(machinePoll) }

// tick lets the least time pass.
func (r *clocked) tick() *clocked { return r.pass(time.Millisecond) }

// write appends to a file, or makes one.
func (r *clocked) write(name, text string) *clocked {
	r.tick().append(name, text)
	return r.touch(name)
}

func (r *clocked) touch(name string) *clocked {
	if err := os.Chtimes(r.path(name), time.Now(), time.Now()); err != nil {
		r.Fatal(err)
	}
	return r
}

// copy copies a file, with the time of now.
func (r *clocked) copy(from, to string) *clocked {
	b, err := os.ReadFile(r.path(from))
	if err != nil {
		r.Fatal(err)
	}
	return r.write(to, string(b))
}

// cut truncates a file.
func (r *clocked) cut(name string) *clocked {
	if err := os.Truncate(r.tick().path(name), 0); err != nil {
		r.Fatal(err)
	}
	return r.touch(name)
}

// move renames a file.
func (r *clocked) move(from, to string) *clocked {
	r.tick().rename(from, to)
	return r
}

// remove deletes a name of a file.
func (r *clocked) remove(name string) *clocked {
	if err := os.Remove(r.tick().path(name)); err != nil {
		r.Fatal(err)
	}
	return r
}

// stopped stops the agent. Its saved positions have the simulated time.
func (r *clocked) stopped() *clocked {
	r.halt()
	at := r.tailer.positions.saved
	os.Chtimes(r.tailer.positions.path, at, at)
	return r
}

// killed ends the agent at once: its saved positions are those that it wrote last.
func (r *clocked) killed() *clocked {
	path, at := r.tailer.positions.path, r.tailer.positions.saved
	b, err := os.ReadFile(path)
	if err != nil {
		r.Fatal(err)
	}
	r.away(true).halt()
	if err := os.WriteFile(path, b, 0o640); err != nil {
		r.Fatal(err)
	}
	os.Chtimes(path, at, at)
	return r
}

// link gives a file one more name.
func (r *clocked) link(from, to string) *clocked {
	if err := os.Link(r.tick().path(from), r.path(to)); err != nil {
		r.Fatal(err)
	}
	return r
}

// started starts an agent.
func (r *clocked) started() *clocked {
	r.run()
	synctest.Wait()
	return r
}

// away has the collector answer nothing, or as usual.
func (r *clocked) away(so bool) *clocked {
	r.collector.refuse(func(wire.Batch) error {
		if so {
			return errConnection
		}
		return nil
	})
	return r
}

// keeps holds, after everything has come to rest, that these words are kept, each as often as here.
func (r *clocked) keeps(want string) *clocked {
	r.Helper()
	r.pass(machineForget)
	got, words := strings.Fields(r.collector.lines()), strings.Fields(want)
	slices.Sort(got)
	slices.Sort(words)
	if !slices.Equal(got, words) {
		r.Fatalf("%.300q is kept, want %.300q", got, words)
	}
	return r
}

// counts holds what was counted.
func (r *clocked) counts(name string, want uint64) *clocked {
	r.Helper()
	if got := r.tailer.Counts()[name]; got != want {
		r.Errorf("%s is %d, want %d", name, got, want)
	}
	return r
}
