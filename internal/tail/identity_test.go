package tail

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// changePositions changes all that both sides remember of files, while the agent is away.
func (r *rig) changePositions(change func(*savedPosition)) *rig {
	r.Helper()
	path := filepath.Join(r.state, "marks")
	b, err := os.ReadFile(path)
	if err != nil {
		r.Fatal(err)
	}
	list, err := parsePositions(b)
	if err != nil {
		r.Fatal(err)
	}
	for _, m := range list {
		change(m)
	}
	if err := os.WriteFile(path, formatPositions(list, false), 0o640); err != nil {
		r.Fatal(err)
	}
	for id, b := range r.collector.ident {
		m := &savedPosition{Point: r.collector.watermarks[id].Point}
		if m.identity, err = parseIdentity(b); err != nil {
			r.Fatal(err)
		}
		change(m)
		r.collector.ident[id] = m.identity.append(nil)
	}
	return r
}

// TestDeviceNumberChanged: a reboot or another mount shows the file system under
// another number, and perhaps another id; nothing is sent again, and a file that was
// renamed meanwhile is found.
func TestDeviceNumberChanged(t *testing.T) {
	for name, change := range map[string]func(*savedPosition){
		"device":                     func(m *savedPosition) { m.device += 7 },
		"device and file system":     func(m *savedPosition) { m.device += 7; m.system += 7 },
		"device, no id":              func(m *savedPosition) { m.device += 7; m.system = 0 },
		"device, no handle":          func(m *savedPosition) { m.device += 7; m.handle = nil },
		"all but number and content": func(m *savedPosition) { m.device += 7; m.system = 0; m.handle = nil; m.path = "/elsewhere/a.log" },
	} {
		for _, keepState := range []bool{true, false} {
			for _, renamed := range []string{"", "a.log.1", "old"} {
				t.Run(fmt.Sprintf("%s, state kept %v, renamed %q", name, keepState, renamed), func(t *testing.T) {
					if renamed == "old" && strings.HasPrefix(name, "all") {
						t.Skip("there is nothing left that leads to its directory")
					}
					r := newRig(t).append("a.log", "1\n2\n").append("b.log", "3\n").run().expectSet("1 2 3")
					r.halt()
					r.changePositions(change).append("a.log", "4\n")
					if renamed != "" {
						r.rename("a.log", renamed).append("a.log", "5\n")
					}
					if !keepState {
						r.state = t.TempDir()
					}
					r.run().append("b.log", "6\n")
					want := "1 2 3 4 6"
					if renamed != "" {
						want += " 5"
					}
					r.expectSet(want).quiet(want)
				})
			}
		}
	}
}

// quiet holds that nothing more is sent while a file is found and sent.
func (r *rig) quiet(want string) *rig {
	r.Helper()
	r.append("zz.log", "quiet\n")
	return r.expectSet(want + " quiet")
}

// TestNumberGivenAgain: a new file that got the number of a deleted one is not
// mistaken for it, whether or not it has as many bytes.
func TestNumberGivenAgain(t *testing.T) {
	r := newRig(t).append("a.log", "one\ntwo\n").run().expect("one two")
	r.halt()
	os.Remove(r.path("a.log"))
	r.append("b.log", "three\nfour\n")
	fi, err := os.Stat(r.path("b.log"))
	if err != nil {
		t.Fatal(err)
	}
	r.changePositions(func(m *savedPosition) { m.inode, m.handle, m.path = keyOf(fi).inode, nil, r.path("a.log") })
	r.run().expect("one two three four")
}

// TestDeviceBreaksTies: of two files with one handle and one content, the saved
// position is that of the one on its device.
func TestDeviceBreaksTies(t *testing.T) {
	r := newRig(t).append("a.log", "1\n2\n").append("b.log", "1\n2\n")
	tl := &Tailer{Settings: Settings{State: t.TempDir()}}
	tl.defaults()
	tl.positions = &savedPositions{list: make(map[wire.StreamID]*savedPosition)}
	var files []*follower
	for _, name := range []string{"a.log", "b.log"} {
		fi, err := os.Stat(r.path(name))
		if err != nil {
			t.Fatal(err)
		}
		f, err := tl.open(candidate{path: r.path(name), table: &Table{}, key: keyOf(fi), info: fi})
		if err != nil {
			t.Fatal(err)
		}
		defer f.file.close()
		f.file.handle, f.key.inode = []byte("one for both"), 7
		files = append(files, f)
	}
	files[0].key.device++
	c, _ := files[1].file.cursorAt(4, 0)
	m := files[1].positionOf(wire.NewStreamID(), &localState{cursor: c, epoch: 1}, 0)
	m.path = r.path("a.log")
	tl.positions.put(m)
	tl.identify(files)
	if files[1].place.stream != m.Stream || !files[0].place.stream.IsZero() {
		t.Errorf("the mark went to %v and %v", files[0].place.stream, files[1].place.stream)
	}
}

// TestLinkSwitchedWhileAway: the rest of the file that a symbolic link led to
// before is sent, wherever it is.
func TestLinkSwitchedWhileAway(t *testing.T) {
	for _, keepState := range []bool{true, false} {
		r := newRig(t)
		data := t.TempDir()
		write := func(name, text string) {
			f, err := os.OpenFile(filepath.Join(data, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
			if err == nil {
				_, err = f.WriteString(text)
				f.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		link := func(name string) {
			os.Remove(r.path("current.log"))
			if err := os.Symlink(filepath.Join(data, name), r.path("current.log")); err != nil {
				t.Fatal(err)
			}
		}
		write("app-1", "1\n")
		link("app-1")
		r.run().expect("1")
		r.halt()
		write("app-1", "2\n")
		write("app-2", "3\n")
		link("app-2")
		if !keepState {
			r.state = t.TempDir()
		}
		r.run().expectSet("1 2 3")
		write("app-2", "4\n")
		r.expectSet("1 2 3 4")
	}
}

// TestRotatedUnseen: files that were created and rotated while no agent ran,
// or between two of its looks, are found although no table names them. Others
// beside them are not touched.
func TestRotatedUnseen(t *testing.T) {
	for _, way := range []string{"rename", "copy", "deleted"} {
		r := newRig(t)
		r.change = func(t *Tailer) { t.Tables[0].Paths = []string{r.path("app.log")} }
		r.append("app.log.3", "long ago\n").age("app.log.3").append("app.log", "1\n").run().expect("1")
		r.halt()
		switch way {
		case "rename":
			r.append("app.log", "2\n").rename("app.log", "app.log.2").append("app.log", "3\n").rename("app.log", "app.log.1").append("app.log", "4\n")
		case "copy":
			r.append("app.log", "2\n").copyTruncate("app.log", "app.log.2").append("app.log", "3\n")
			r.copyTruncate("app.log", "app.log.1").append("app.log", "4\n")
		case "deleted":
			os.Remove(r.path("app.log"))
			r.append("app.log", "2\n3\n").rename("app.log", "app-2026-11-22T17-10-28.275.log").append("app.log", "4\n")
		}
		r.append("app.log.debug", "not named\n").append("app.log.state", "5\n").append("other.log.1", "6\n")
		r.run().expectSet("1 2 3 4")
		r.append("app.log", "7\n").expectSet("1 2 3 4 7")
		if n := r.tailer.Counts()["unseen_files"]; n != 1 {
			t.Errorf("%s: %d files were found", way, n)
		}
		r.halt()
		r.append("app.log", "8\n").run().expectSet("1 2 3 4 7 8") // they are known now
	}
}

// age makes a file an hour old.
func (r *rig) age(name string) *rig {
	r.Helper()
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(r.path(name), then, then); err != nil {
		r.Fatal(err)
	}
	return r
}

// TestRotatedAndPackedUnseen is reported, for nothing else can be done.
func TestRotatedAndPackedUnseen(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Tables[0].Paths = []string{r.path("app.log")} }
	r.append("app.log.3.gz", "long ago\n").age("app.log.3.gz").append("app.log", "1\n").run().expect("1")
	r.halt()
	r.rename("app.log", "app.log.2").append("app.log.1.gz", "packed\n").append("app.log", "4\n").run().expect("1 4")
	r.await(func() bool { return r.tailer.Counts()["unsure_files"] == 1 })
}

func TestRotatedNames(t *testing.T) {
	for name, want := range map[string]bool{
		"app.log.1": true, "app.log.12.gz": true, "app.log-20261122": true, "app.log-20261122.gz": true, "app.log.2026-11-22": true, "app.log.old": true,
		"app-2026-11-22T17-10-28.275.log": true, "app.1.log": true, "app-20261122.log.gz": true,
		"app.log": false, "app.log.debug": false, "app.log.1.bak": false, "application.log.1": false, "app.log.state": false, "app-errors.log": false, "xapp.log.1": false,
	} {
		if got := rotatedFrom("app.log", name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		if got := slices.Contains(liveNames("dir/"+name), "dir/app.log"); got != want {
			t.Errorf("%s: the name that rotation made it of is found: %v, want %v", name, got, want)
		}
	}
	if !rotatedFrom("syslog", "syslog.1") || rotatedFrom("syslog", "syslog") || rotatedFrom("syslog", "syslog-ng") {
		t.Error("names without an extension are not distinguished")
	}
}

// TestFromEndBeforeACollector: files begin where they ended when the agent started,
// not when it met its collector, also if it is killed before that.
func TestFromEndBeforeACollector(t *testing.T) {
	for _, killed := range []bool{false, true} {
		r := newRig(t).append("a.log", "1\n2\npart")
		r.change = func(t *Tailer) { t.Tables[0].FromEnd = true }
		r.unwelcome = true
		marked := func() bool { b, err := os.ReadFile(filepath.Join(r.state, "marks")); return err == nil && len(b) > 20 }
		r.run().await(marked)
		r.append("a.log", " done\n3\n").append("b.log", "4\n")
		if killed {
			r.halt()
			r.append("a.log", "5\n").append("c.log", "6\n").run()
		}
		r.tailer.Welcome(r.collector.welcome(), wire.MaxText)
		want := "part done 3 4"
		if killed {
			want += " 5 6"
		}
		r.expectSet(want)
		r.halt()
		r.append("a.log", "7\n")
		r.unwelcome = false
		r.run().expectSet(want + " 7")
	}
}

// TestFromEndWithALostState: the collector knows how far each file was sent, so
// its lines since are sent, not only those behind its end now.
func TestFromEndWithALostState(t *testing.T) {
	r := newRig(t).append("a.log", "1\n")
	r.change = func(t *Tailer) { t.Tables[0].FromEnd = true }
	r.run().await(func() bool { return len(r.tailer.Status()) == 1 })
	r.append("a.log", "2\n").expect("2").halt()
	r.append("a.log", "3\n").append("b.log", "4\n")
	r.state = t.TempDir()
	r.run().expectSet("2 3 4")
}

// owners keeps the streams of agents apart, as the collector does.
func (r *rig) owner(agent string) *rig {
	inner := r.change
	r.change = func(t *Tailer) { inner(t); t.Agent = agent }
	return r
}

// TestHostRenamed: under another id the collector knows none of the streams, so
// each file resumes at its saved position as a new one.
func TestHostRenamed(t *testing.T) {
	const files = 1000
	r := newRig(t).owner("old-name")
	var want strings.Builder
	for i := range files {
		text := numbered(fmt.Sprint("f", i), 2)
		want.WriteString(text)
		r.append(fmt.Sprintf("%d.log", i), text)
	}
	r.run().expectSet(want.String())
	r.halt()
	old := r.collector.watermarks
	r.collector.watermarks = make(map[wire.StreamID]*wire.Watermark) // they are another agent's
	for i := range files {
		text := fmt.Sprintf("g%d\n", i)
		want.WriteString(text)
		r.append(fmt.Sprintf("%d.log", i), text)
	}
	r.rename("7.log", "7.log.1").append("7.log", "h\n")
	r.owner("new-name").run().expectSet(want.String() + "h")
	if n := r.tailer.Counts()["maybe_doubled_bytes"]; n != 0 {
		t.Errorf("%d bytes may be doubled, but all were acknowledged", n)
	}
	if len(r.collector.skips) > 0 {
		t.Errorf("skipped %v", r.collector.skips)
	}
	for id := range r.collector.watermarks {
		if old[id] != nil {
			t.Fatal("a stream of the other agent was opened")
		}
	}
	r.halt()
	r.append("3.log", "at last\n").run().expectSet(want.String() + "h at last") // and so it stays
}

// TestHostRenamedInDoubt: what was sent and never answered is counted, once.
func TestHostRenamedInDoubt(t *testing.T) {
	r := newRig(t).owner("old-name").append("a.log", "1\n").run().expect("1")
	var lost atomic.Bool
	r.collector.mu.Lock()
	r.collector.failing = func(b wire.Batch) error {
		if b.Op == wire.OpData && b.Offset == 2 {
			lost.Store(true)
			return errors.New("the answer was lost")
		}
		return nil
	}
	r.collector.mu.Unlock()
	r.append("a.log", "22\n").await(lost.Load).halt()
	r.collector.watermarks, r.collector.failing = make(map[wire.StreamID]*wire.Watermark), nil
	r.append("a.log", "3\n").owner("new-name").run().expect("1 22 22 3")
	if n := r.tailer.Counts()["maybe_doubled_bytes"]; n != 3 {
		t.Errorf("%d bytes are counted as perhaps doubled, want 3", n)
	}
}

// TestRefusalsSlowDown: what is refused is tried again ever less often, reported
// once, and sending resumes when it is accepted at last.
func TestRefusalsSlowDown(t *testing.T) {
	r := newRig(t)
	var log strings.Builder
	r.change = func(t *Tailer) { t.Refused, t.Log = time.Millisecond, slog.New(slog.NewTextHandler(&log, nil)) }
	var tries []time.Time
	r.collector.fail = func(b wire.Batch) error {
		if b.Op == wire.OpData && len(tries) < 7 {
			tries = append(tries, time.Now())
			return &wire.Refused{Reason: "not these"}
		}
		return nil
	}
	r.append("a.log", "1\n").run().expect("1")
	r.halt()
	if n := r.tailer.Counts()["refused_batches"]; n != 7 {
		t.Errorf("%d refusals are counted", n)
	}
	if passed := tries[6].Sub(tries[0]); passed < 63*time.Millisecond {
		t.Errorf("seven tries in %v, want 1+2+4+8+16+32 ms at least", passed)
	}
	if n := strings.Count(log.String(), "not these"); n != 1 {
		t.Errorf("the reason is reported %d times:\n%s", n, log.String())
	}
}

// TestContradictionsSlowDown: a collector that always answers that the stream is elsewhere is not
// asked without a pause.
func TestContradictionsSlowDown(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Poll = 32 * time.Millisecond } // the first pause is 2 ms
	var tries []time.Time
	r.collector.fail = func(b wire.Batch) error {
		if b.Op == wire.OpData && len(tries) < 7 {
			tries = append(tries, time.Now())
			return &wire.Expected{Known: true, Watermark: wire.Watermark{Epoch: b.Epoch}}
		}
		return nil
	}
	r.append("a.log", "1\n").run().expect("1")
	r.halt()
	if passed := tries[6].Sub(tries[0]); passed < 126*time.Millisecond {
		t.Errorf("seven tries in %v, want 2+4+8+16+32+64 ms at least", passed)
	}
}

// TestRefusalEndsWithTheConnection: another collector, or another limit, may take
// what was refused. It is tried at once when the agent is met anew.
func TestRefusalEndsWithTheConnection(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Refused = time.Hour }
	refused := make(chan struct{}, 1)
	r.collector.refuse(func(b wire.Batch) error {
		if b.Op != wire.OpData {
			return nil
		}
		select {
		case refused <- struct{}{}:
		default:
		}
		return &wire.Refused{Reason: "not these"}
	})
	r.append("a.log", "1\n").run()
	again := func() {
		select {
		case <-refused:
		case <-time.After(waittest.Limit):
			t.Fatal("it is not tried again")
		}
	}
	for range 3 {
		again()
		r.tailer.Welcome(r.collector.welcome(), wire.MaxText)
	}
	again()
	r.collector.refuse(nil)
	r.tailer.Welcome(r.collector.welcome(), wire.MaxText)
	r.expect("1")
}
