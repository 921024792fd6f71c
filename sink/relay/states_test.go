package relay

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink"
)

// number appends numbered lines, from a number on.
func (n *node) number(from, to int) {
	n.t.Helper()
	b := wire.Batch{Host: "web", Source: "app", Input: "tcp", Time: 1795366800000000}
	for i := from; i < to; i++ {
		b.Text = fmt.Appendf(b.Text, "line %d\n", i)
	}
	if err := n.sink.Append(context.Background(), b); err != nil {
		n.t.Fatal(err)
	}
}

// numbered are the lines of a log but for notices.
func (n *node) numbered() (list []string) {
	n.t.Helper()
	for line := range strings.Lines(n.text()) {
		if _, body, ok := strings.Cut(line, "app: "); ok {
			list = append(list, strings.TrimSpace(body))
		}
	}
	return list
}

// has waits until the upstream has these numbered lines and no others.
func (n *node) has(up *node, from, to int) {
	n.t.Helper()
	waittest.Until(n.t, "the upstream to have all", func() bool { return n.down.Status().Lag == 0 })
	var want []string
	for i := from; i < to; i++ {
		want = append(want, fmt.Sprintf("line %d", i))
	}
	waittest.Until(n.t, "the file of the upstream", func() bool { return len(up.numbered()) >= len(want) })
	if got := up.numbered(); !slices.Equal(got, want) {
		n.t.Fatalf("the upstream has %d lines %.300q, want %d to %d", len(got), got, from, to)
	}
}

// restart closes a log, changes its files, and opens it again.
func (n *node) restart(change func(dir string)) *node {
	n.t.Helper()
	relays := n.down != nil
	n.close()
	if change != nil {
		change(n.dir)
	}
	again := open(n.t, n.dir, "syslog", sink.RetentionPolicy{Compress: "none"})
	if relays {
		again.relay()
	}
	return again.start()
}

// Whatever of what either side keeps is lost, each line is in the upstream's log once.
func TestLostStates(t *testing.T) {
	removeState := func(dir string) { os.RemoveAll(filepath.Join(dir, "state")) }
	removeSaved := func(dir string) { os.Remove(filepath.Join(dir, "state", fileName)) }
	keepSaved := func(dir string) { // and the oldest file is gone, so numbers differ
		saved, _ := os.ReadFile(filepath.Join(dir, "state", fileName))
		removeState(dir)
		os.Mkdir(filepath.Join(dir, "state"), 0o700)
		os.WriteFile(filepath.Join(dir, "state", fileName), saved, 0o600)
		files, _ := filepath.Glob(filepath.Join(dir, "all-*.log"))
		os.Remove(slices.Min(files))
	}
	laterSaved := func(dir string) { // and the log was put back
		path := filepath.Join(dir, "state", fileName)
		saved, _ := os.ReadFile(path)
		os.WriteFile(path, regexp.MustCompile(`"(at|floor)":"[^"]*"`).ReplaceAll(saved, []byte(`"$1":"9:0"`)), 0o600)
	}
	olderSaved := func(dir string) { // by a release that did not save the log's id
		path := filepath.Join(dir, "state", fileName)
		saved, _ := os.ReadFile(path)
		os.WriteFile(path, regexp.MustCompile(`"(log|floor)":"[^"]*",`).ReplaceAll(saved, nil), 0o600)
	}
	damageSaved := func(dir string) { os.WriteFile(filepath.Join(dir, "state", fileName), []byte("{torn"), 0o600) }
	for _, row := range []struct {
		name      string
		down, up  func(dir string)
		rotate    bool // the last relayed line is at the end of a file
		anotherUp bool
	}{
		{name: "nothing"},
		{name: "what the relay saved", down: removeSaved},
		{name: "what the relay saved, of a later state of its log", down: laterSaved},
		{name: "what the relay saved, torn", down: damageSaved},
		{name: "the state of the relay's log", down: removeState},
		{name: "the state of the relay's log, behind a rotation", down: removeState, rotate: true},
		{name: "the state of the relay's log, but what the relay saved", down: keepSaved},
		{name: "the state of the upstream", up: removeState},
		{name: "the state of the upstream, behind a rotation", up: removeState, rotate: true},
		{name: "the state of the upstream, an older release saved", down: olderSaved, up: removeState},
		{name: "the upstream", anotherUp: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			keep := sink.RetentionPolicy{Compress: "none"}
			edge, up := open(t, t.TempDir(), "syslog", keep).relay().start(), open(t, t.TempDir(), "syslog", keep).start()
			edge.number(0, 100)
			edge.rotate()
			edge.number(100, 200)
			edge.connect(up, &link{})
			edge.has(up, 0, 200)
			if row.rotate {
				edge.rotate()
				waittest.Until(t, "the upstream to have all", func() bool { return edge.down.Status().Lag == 0 })
			}
			edge = edge.restart(row.down)
			first := 0
			if up = up.restart(row.up); row.anotherUp {
				up, first = open(t, t.TempDir(), "syslog", keep).start(), 200
			}
			edge.connect(up, &link{})
			edge.number(200, 300)
			edge.has(up, first, 300)
			edge.rotate()
			edge.number(300, 400)
			edge.has(up, first, 400)
		})
	}
}

// While the upstream is away, retention keeps what it was told to keep, and counts what it removes:
// each line is in the upstream's log, or counted.
func TestExpired(t *testing.T) {
	keep := sink.RetentionPolicy{Compress: "none", Files: 1, HoldRelay: 3000}
	edge, up := open(t, t.TempDir(), "syslog", keep).relay().start(), open(t, t.TempDir(), "syslog", keep).start()
	edge.number(0, 10)
	edge.connect(up, &link{})
	edge.has(up, 0, 10)
	edge.stop()
	edge.stop = func() {}
	for i := 10; i < 200; i += 10 {
		edge.number(i, i+10)
		edge.rotate()
	}
	files := func() int { return len(edge.sink.Status().Generations) }
	waittest.Until(t, "files to be removed", func() bool { return files() < 10 })
	if n := files(); n < 4 {
		t.Errorf("%d files are there: none was kept for the relay", n)
	}
	expired := int(edge.down.Status().Expired)
	if expired == 0 {
		t.Fatal("no line was counted that retention removed")
	}
	before := edge
	edge = edge.restart(nil) // without limits: nothing more is removed while lines are forwarded
	edge.connect(up, &link{})
	waittest.Until(t, "the upstream to have all", func() bool { return edge.down.Status().Lag == 0 })
	st, all := edge.down.Status(), before.sink.Status().Lines+edge.sink.Status().Lines // with the notices
	st.Lines += before.down.Status().Lines
	st.Expired += before.down.Status().Expired
	if st.Lines+st.Expired != all {
		t.Errorf("%d lines arrived and %d were counted, of %d", st.Lines, st.Expired, all)
	}
	waittest.Until(t, "the file of the upstream", func() bool { return strings.Contains(up.text(), "line 199\n") })
	if got := up.numbered(); got[len(got)-1] != "line 199" || got[10] != fmt.Sprintf("line %d", 210-len(got)) {
		t.Errorf("other lines arrived: %q", got)
	}
	if text := up.text(); !strings.Contains(text, "here fanin: UNRELAYED lines=") {
		t.Errorf("the upstream has no notice:\n%s", text)
	}
}

// Lines go only where they cannot come back.
func TestWays(t *testing.T) {
	edge := open(t, t.TempDir(), "syslog", sink.RetentionPolicy{}).relay().start()
	own := edge.sink.LogID()
	logs := func(n int) (ids []wire.StreamID) {
		for range n {
			ids = append(ids, wire.NewStreamID())
		}
		return ids
	}
	changed := 0
	edge.down.Changed = func(reason string) {
		if changed++; strings.Contains(reason, "up:1") {
			t.Errorf("those below are told where this log is forwarded to: %q", reason)
		}
	}
	for _, row := range []struct {
		way    wire.Way
		waits  string
		length int // of the way of this log
		known  bool
	}{
		{wire.Way{Known: true, Logs: logs(1)}, "", 2, true},
		{wire.Way{Known: true, Logs: logs(7)}, "", 8, true},
		{wire.Way{Known: true, Logs: logs(8)}, "8 logs at most", 8, true},
		{wire.Way{Logs: logs(1)}, "has not met", 2, false},
		{wire.Way{}, "of a release that takes no relays", 1, false},
		{wire.Way{Known: true, Logs: []wire.StreamID{own}}, "would come back", 1, false},
		{wire.Way{Logs: append(logs(2), own)}, "would come back", 3, false},
	} {
		before, way := changed, edge.down.Way()
		edge.down.Welcomed(wire.Welcome{Log: wire.NewStreamID(), About: wire.About{Way: row.way}}, wire.MaxText)
		if waits := edge.down.Waits(); (waits == "") != (row.waits == "") || !strings.Contains(waits, row.waits) {
			t.Errorf("%+v: it waits because %q, want %q", row.way, waits, row.waits)
		}
		if w := edge.down.Way(); len(w.Logs) != row.length || w.Known != row.known || w.Logs[0] != own {
			t.Errorf("%+v: the way is %+v", row.way, w)
		}
		if told := changed > before; told == way.Equal(edge.down.Way()) {
			t.Errorf("%+v: those that send to this log were told: %t", row.way, told)
		}
	}
}

// Of two and of three logs in a circle, none forwards a line, and each learns why.
func TestLoops(t *testing.T) {
	for _, n := range []int{2, 3} {
		var ring []*node
		for range n {
			ring = append(ring, open(t, t.TempDir(), "syslog", sink.RetentionPolicy{}).relay().start())
		}
		loops := func(x *node) bool { return strings.Contains(x.down.Waits(), "out of the loop") }
		for round := range n + 1 { // each is told as often as its upstream's way changes
			for i, x := range ring {
				x.down.Welcomed(ring[(i+1)%n].welcome(), wire.MaxText)
				if x.down.Waits() == "" {
					t.Fatalf("round %d: log %d of %d forwards", round, i, n)
				}
			}
		}
		for i, x := range ring {
			if !loops(x) {
				t.Errorf("log %d of %d waits because %q", i, n, x.down.Waits())
			}
		}
	}
}
