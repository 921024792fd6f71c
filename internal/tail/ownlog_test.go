package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/disk"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// own saved positions a directory as the log's, as a collector does: with a lock beside the
// live file, and with one in the state directory.
func (r *rig) own(lock string, log wire.StreamID) {
	r.Helper()
	if err := os.WriteFile(lock, fmt.Appendf(nil, "123\n{%s}\n", wire.LogMark(log.String())), 0o640); err != nil {
		r.Fatal(err)
	}
}

// told makes the welcome name a file as one of the log's.
func (r *rig) told(path, boot string) {
	r.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		r.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		r.Fatal(err)
	}
	r.collector.life.About = wire.About{Boot: boot, Files: []wire.LogFile{{Device: disk.Device(fi), Inode: disk.Inode(fi),
		Point: wire.Point{Offset: int64(len(b)), Tail: wire.TailHash(b)}}}}
}

// What is of the log itself is never sent to it, by whatever name it is reached.
func TestOwnLogIsRefused(t *testing.T) {
	mine := func(r *rig) { r.own(wire.LockName(r.path("a.log")), r.collector.life.Log) }
	for name, prepare := range map[string]func(r *rig){
		"the live file": mine,
		"a rotated file": func(r *rig) {
			mine(r)
			r.rename("a.log", "a-2026-11-22T17-10-28.275.log")
		},
		"a link": func(r *rig) {
			other := filepath.Join(t.TempDir(), "all.log")
			if err := os.Rename(r.path("a.log"), other); err != nil {
				t.Fatal(err)
			}
			r.own(wire.LockName(other), r.collector.life.Log)
			if err := os.Symlink(other, r.path("a.log")); err != nil {
				t.Fatal(err)
			}
		},
		"a link to the directory": func(r *rig) {
			other := t.TempDir()
			if err := os.Rename(r.path("a.log"), filepath.Join(other, "all.log")); err != nil {
				t.Fatal(err)
			}
			r.own(wire.LockName(filepath.Join(other, "all.log")), r.collector.life.Log)
			if err := os.Symlink(other, r.path("sub")); err != nil {
				t.Fatal(err)
			}
			r.change = func(x *Tailer) { x.Tables[0].Paths = append(x.Tables[0].Paths, r.path("sub/*.log")) }
		},
		"the collector's state": func(r *rig) { r.own(r.path(wire.StateMark), r.collector.life.Log) },
		"another name of the same file": func(r *rig) {
			r.told(r.path("a.log"), disk.BootID())
			r.append("a.log", "and more\n")
		},
		"this agent's state": func(r *rig) { r.state = r.dir },
		"over udp": func(r *rig) {
			r.own(wire.LockName(r.path("a.log")), wire.NewStreamID())
			r.change, r.unwelcome = func(x *Tailer) { x.Lossy = true }, true
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.append("a.log", "of the log\n")
			prepare(r)
			elsewhere := filepath.Join(t.TempDir(), "b.log")
			if err := os.WriteFile(elsewhere, []byte("of the host\n"), 0o640); err != nil {
				t.Fatal(err)
			}
			change := r.change
			r.change = func(x *Tailer) { change(x); x.Tables = append(x.Tables, Table{Paths: []string{elsewhere}}) }
			r.run().expect("of the host")
			waittest.Until(t, "the file is counted", func() bool { return r.tailer.Counts()["unfit_files"] >= 1 })
			r.expect("of the host")
		})
	}
}

// What only looks like the log is a source like any other.
func TestOthersLogIsFollowed(t *testing.T) {
	for name, prepare := range map[string]func(r *rig){
		"the log of another collector":        func(r *rig) { r.own(wire.LockName(r.path("a.log")), wire.NewStreamID()) },
		"a lock of nothing":                   func(r *rig) { os.WriteFile(wire.LockName(r.path("a.log")), []byte("123"), 0o640) },
		"a file beside the log":               func(r *rig) { r.own(wire.LockName(r.path("all.log")), r.collector.life.Log) },
		"the same numbers on another machine": func(r *rig) { r.told(r.path("a.log"), "another boot") },
		"the same numbers on a clone of it": func(r *rig) {
			r.told(r.path("a.log"), disk.BootID())
			r.collector.life.About.Files[0].Tail++
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.append("a.log", "a line\n")
			prepare(r)
			r.run().expect("a line")
		})
	}
}

// A file that is followed becomes the log's: the next welcome names it, and nothing
// more of it is sent.
func TestBecomesOwnLog(t *testing.T) {
	r := newRig(t)
	r.append("a.log", "before\n").run().expect("before")
	r.own(wire.LockName(r.path("a.log")), r.collector.life.Log)
	r.tailer.Welcome(r.collector.welcome(), wire.MaxText)
	r.append("a.log", "of the log\n").append("b.log", "of the host\n").expect("before of the host")
	waittest.UntilEqual(t, "unfit files, with the lock", 2, func() uint64 { return r.tailer.Counts()["unfit_files"] })
}

// A file that grows only with what was sent of it is stopped.
func TestEchoIsStopped(t *testing.T) {
	r := newRig(t)
	r.collector.failing = func(b wire.Batch) error { // kept, and written back as a worker does
		for line := range strings.Lines(string(b.Text)) {
			if !strings.HasSuffix(line, "the first line\n") {
				continue
			}
			r.append("a.log", "done: "+line[max(0, len(line)-300):])
		}
		return nil
	}
	r.append("a.log", "the first line\n").run()
	waittest.Until(t, "the loop is stopped", func() bool { return r.tailer.Counts()["unfit_files"] == 1 })
	size := func() int64 { fi, _ := os.Stat(r.path("a.log")); return fi.Size() }
	before := size()
	r.append("b.log", "another file goes on\n")
	waittest.Until(t, "another file goes on", func() bool { return strings.Contains(r.collector.lines(), "another file goes on") })
	if size() != before {
		t.Error("the loop continues")
	}
}

// Repetition is suspicious when it is fast, and once it was tried not again for long.
func TestEchoSuspicion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e echo
		see := func(n int, every time.Duration) bool {
			for range n {
				e.saw([]byte("all is well\n"))
				time.Sleep(every)
			}
			return e.round > 0
		}
		if see(3*echoRepeats, echoWithin/echoRepeats+time.Second) {
			t.Error("a slow repetition is tried")
		}
		if !see(2*echoRepeats, time.Second) {
			t.Error("a fast repetition is not tried")
		}
		f := &follower{echo: e}
		f.passEcho()
		if e = f.echo; see(2*echoRepeats, time.Second) {
			t.Error("it is tried again at once")
		}
		time.Sleep(echoPause)
		if !see(2*echoRepeats, time.Second) {
			t.Error("it is not tried again")
		}
	})
}

// A file that says the same again and again, by itself, is none: fast or slowly, at
// an even pace or not.
func TestRepetitionIsNoEcho(t *testing.T) {
	for name, pause := range map[string]func(n int) time.Duration{
		"fast":   func(int) time.Duration { return 20 * time.Millisecond },
		"slow":   func(int) time.Duration { return 800 * time.Millisecond },
		"uneven": func(n int) time.Duration { return time.Duration(n%3*n%5) * 300 * time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.append("a.log", "all is well\n").run()
			n := 1
			tried := func() bool {
				r.tailer.mu.Lock()
				defer r.tailer.mu.Unlock()
				for _, f := range r.tailer.followers {
					if f.checks.echoes.Load() > 0 {
						return true
					}
				}
				return false
			}
			for end := time.Now().Add(60 * time.Second); !tried(); n++ {
				if time.Now().After(end) {
					t.Fatal("the suspicion was never tried")
				}
				time.Sleep(pause(n)) // the pace is what is tried
				r.append("a.log", "all is well\n")
			}
			waittest.Until(t, "all lines are kept", func() bool { return strings.Count(r.collector.lines(), "all is well") == n })
			if r.tailer.Counts()["unfit_files"] != 0 {
				t.Error("mistaken for an echo")
			}
		})
	}
}

// Lines that differ in their times alone raise no suspicion.
func TestTimesAreNoEcho(t *testing.T) {
	var e echo
	for n := range 100 {
		if e.saw(fmt.Appendf(nil, "2026-11-25T10:%02d:00Z INFO health check: all systems nominal, nothing to be reported today\n", n)) || e.round > 0 {
			t.Fatal("suspected")
		}
	}
}
