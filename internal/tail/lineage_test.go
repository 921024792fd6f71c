package tail

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/wire"
)

func TestLiveName(t *testing.T) {
	for name, want := range map[string]string{
		"app.log": "app.log 0", "app.log.1": "app.log 1", "app.log.12": "app.log 12", "app.log.old": "app.log -1",
		"app.log-20261122": "app.log 20261122", "app.log.2026-11-22": "app.log -1", "app-2026-11-22.log": "app.log -1",
		"app-2026-11-22T17-00-00.000.log": "app.log -1", "syslog.1": "syslog 1", "server1.log": "server1.log 0",
		"server-1.log": "server-1.log 0", "app.log.20261122-170000": "app.log -1", "1": "1 0", "app.log.99999999999": "app.log -1",
	} {
		live, number := liveName(filepath.Join("/var/log", name))
		if got := fmt.Sprint(filepath.Base(live), " ", number); got != want || filepath.Dir(live) != "/var/log" {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// later refuses the first n batches that have this in their text: what is behind it may overtake it.
func (c *collector) later(n int, text string) func(wire.Batch) error {
	return func(b wire.Batch) error {
		if n > 0 && strings.Contains(string(b.Text), text) {
			n--
			return errors.New("not yet")
		}
		return nil
	}
}

// shift rotates as logrotate does: a.log.1 becomes a.log.2, and a.log a.log.1.
func (r *rig) shift(name string) *rig {
	r.Helper()
	n := 1
	for ; ; n++ {
		if _, err := os.Stat(r.path(fmt.Sprintf("%s.%d", name, n))); err != nil {
			break
		}
	}
	for ; n > 1; n-- {
		r.rename(fmt.Sprintf("%s.%d", name, n-1), fmt.Sprintf("%s.%d", name, n))
	}
	return r.rename(name, name+".1")
}

// eachPattern calls f for patterns that name rotated files, and that do not.
func eachPattern(t *testing.T, f func(t *testing.T, pattern string)) {
	for _, pattern := range []string{"*.log", "*.log*"} {
		t.Run(pattern, func(t *testing.T) { f(t, pattern) })
	}
}

// TestShiftedWhileDown: files were rotated by numbers, several times, while no agent ran, with what the
// agent had sent of them or had not, and perhaps its state is lost. They are sent in their order.
func TestShiftedWhileDown(t *testing.T) {
	eachPattern(t, func(t *testing.T, pattern string) {
		for _, state := range []string{"kept", "lost"} {
			for shifts := range 4 {
				r := newRig(t).append("a.log", "1\n")
				r.change = func(t *Tailer) { t.Tables[0].Paths = []string{r.path(pattern)} }
				r.run().expect("1").halt()
				if state == "lost" {
					r.state = t.TempDir()
				}
				want := "1"
				for i := range shifts {
					r.append("a.log", fmt.Sprintf("%d\n", 2*i+2)).shift("a.log").append("a.log", fmt.Sprintf("%d\n", 2*i+3))
					want += fmt.Sprint(" ", 2*i+2, " ", 2*i+3)
				}
				r.collector.refuse(r.collector.later(5, "2"))
				r.run().expect(want).polled(5).expect(want)
				r.halt()
				r.shift("a.log").append("a.log", "last\n").run().expect(want + " last").halt()
			}
		}
	})
}

// TestNextFileAfterTheStart: files were renamed while no agent ran, and the program makes its next file
// when the agent runs again. That comes behind the newest of them.
func TestNextFileAfterTheStart(t *testing.T) {
	eachPattern(t, func(t *testing.T, pattern string) {
		for range 5 { // saved positions come in any order
			r := newRig(t).append("a.log", "1\n")
			r.change = func(t *Tailer) { t.Tables[0].Paths = []string{r.path(pattern)} }
			r.run().expect("1")
			want := "1"
			for i := 2; i < 6; i++ { // all of them are known
				r.shift("a.log").append("a.log", fmt.Sprintf("%d\n", i))
				want += fmt.Sprint(" ", i)
				r.expect(want)
			}
			r.halt()
			r.append("a.log", "6\n").shift("a.log").collector.refuse(r.collector.later(1<<30, ""))
			r.run().await(func() bool { return len(r.tailer.Status()) == 5 }).append("a.log", "7\n")
			r.await(func() bool { return len(r.tailer.Status()) == 6 }).polled(3)
			r.collector.refuse(r.collector.later(2, "6"))
			r.expect(want + " 6 7").halt()
		}
	})
}

// TestMissedByALook: a look may miss a file that is renamed just then. It is followed with those that come
// behind it.
func TestMissedByALook(t *testing.T) {
	r := newRig(t)
	r.append("a.log", "1\n").shift("a.log").append("a.log", "2\n").shift("a.log").append("a.log", "3\n")
	r.append("b.log", "").append("b.log.1", "").append("a.log.3.gz", "packed\n")
	tl := &Tailer{Settings: Settings{State: r.state, Out: r.collector, Tables: []Table{{Paths: []string{r.path("*.log*")}}}}}
	tl.defaults()
	tl.positions, _, _ = openPositions(nil, r.state, slog.New(slog.DiscardHandler))
	tl.Welcome(r.collector.welcome(), wire.MaxText)
	ctx, stop := context.WithCancel(t.Context())
	var seen []candidate
	for _, name := range []string{"a.log.1", "a.log"} {
		fi, err := os.Stat(r.path(name))
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, candidate{path: r.path(name), table: &tl.Tables[0], key: keyOf(fi), info: fi})
	}
	r.collector.refuse(r.collector.later(1, "1"))
	tl.followNew(ctx, seen)
	r.expect("1 2 3")
	tl.mu.Lock()
	if n := len(tl.followers); n != 3 {
		t.Errorf("%d files are followed", n)
	}
	tl.mu.Unlock()
	stop()
	tl.running.Wait()
}

// TestShiftedWhileRefused: files are rotated by numbers, several times, before anything of them is
// accepted. They are sent in their order.
func TestShiftedWhileRefused(t *testing.T) {
	eachPattern(t, func(t *testing.T, pattern string) {
		r := newRig(t).append("a.log", "0\n")
		r.change = func(t *Tailer) { t.Tables[0].Paths = []string{r.path(pattern)} }
		r.run().expect("0")
		r.collector.refuse(r.collector.later(1<<30, ""))
		want := "0"
		for i := 1; i < 5; i++ {
			r.append("a.log", fmt.Sprintf("%d\n", i)).shift("a.log").append("a.log", fmt.Sprintf("%d'\n", i))
			want += fmt.Sprintf(" %d %d'", i, i)
			r.await(func() bool { return len(r.tailer.Status()) == i+1 }).polled(3)
		}
		r.collector.refuse(r.collector.later(3, "1"))
		r.expect(want)
	})
}

// TestEmptyFileShifted: files that are rotated before anything was written to them keep no other waiting.
func TestEmptyFileShifted(t *testing.T) {
	eachPattern(t, func(t *testing.T, pattern string) {
		r := newRig(t).append("a.log", "1\n")
		r.change = func(t *Tailer) { t.Tables[0].Paths = []string{r.path(pattern)} }
		r.run().expect("1").shift("a.log").append("a.log", "").polled(3)
		r.shift("a.log").append("a.log", "").polled(3)
		r.shift("a.log").append("a.log", "2\n").expect("1 2").halt()
		r.shift("a.log").append("a.log", "").shift("a.log").append("a.log", "3\n").run().expect("1 2 3")
	})
}

// TestWrittenAfterTheRename: a program writes to its file when that was renamed already, and to the new
// file a moment later, as with logrotate's create and postrotate. The lines are in order.
func TestWrittenAfterTheRename(t *testing.T) {
	eachPattern(t, func(t *testing.T, pattern string) {
		for range 30 {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t).append("a.log", "1\n")
				r.change = func(t *Tailer) { t.Tables[0].Paths, t.LetGo, t.noHints = []string{r.path(pattern)}, time.Hour, true }
				r.run()
				time.Sleep(time.Second)
				r.shift("a.log").append("a.log", "")
				time.Sleep(time.Second)
				r.append("a.log.1", "2\n").append("a.log", "3\n")
				time.Sleep(time.Second)
				if got := r.collector.lines(); got != "1 2 3" {
					t.Fatalf("lines: %s", got)
				}
				r.halt()
			})
		}
	})
}

// TestShiftedKilledAtEachCall: files are rotated by numbers, and the agent is killed at each of its
// calls to the collector, with its state or without. Each line is there once, in order.
func TestShiftedKilledAtEachCall(t *testing.T) {
	formats := map[string]func(*Table){
		"plain":   func(*Table) {},
		"utf-16":  func(x *Table) { x.Text.Encoding = "utf-16le" },
		"records": func(x *Table) { x.Text = digitRecords(100 * time.Millisecond) },
	}
	for format, set := range formats {
		eachPattern(t, func(t *testing.T, pattern string) {
			for _, state := range []string{"kept", "lost"} {
				for _, stored := range []bool{true, false} {
					t.Run(fmt.Sprintf("%s, state %s, answer lost %v", format, state, stored), func(t *testing.T) {
						t.Parallel()
						r := func() *rig {
							r := newRig(t)
							r.change = func(t *Tailer) { // no stream ends before its saved position is written
								t.Tables[0].Paths, t.LetGo = []string{r.path(pattern)}, time.Hour
								set(&t.Tables[0])
							}
							return r
						}
						first := 1
						if pattern == "*.log" && !stored {
							first = 2 // before that, nothing knows of the file
						}
						atEachCall(t, first, func(at int) bool { return shiftedKilled(r(), format == "utf-16", state, at, stored) })
					})
				}
			}
		})
	}
}

// shiftedKilled is one run; it returns false if it ended before the kill.
func shiftedKilled(r *rig, wide bool, state string, at int, stored bool) bool {
	k := &killed{rig: r, at: at, stored: stored}
	k.arm()
	write := func(text string) {
		if wide {
			text = utf16Text(binary.LittleEndian, text)
		}
		k.append("a.log", text)
	}
	write("1\n2\n")
	k.run()
	k.settle("1 2")
	write("3\n")
	k.shift("a.log")
	write("4\n")
	k.settle("1 2 3 4")
	write("5\n")
	k.shift("a.log")
	write("6\n")
	write("7\n")
	k.settle("1 2 3 4 5 6 7")
	if !k.end() {
		return false
	}
	if state != "kept" {
		k.state = k.TempDir()
	}
	k.collector.fail, k.collector.failing = nil, nil
	k.shift("a.log")
	write("8\n")
	k.run().expect("1 2 3 4 5 6 7 8")
	k.halt()
	return true
}
