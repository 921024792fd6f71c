package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fanin/internal/tail/decode"
	"fanin/internal/wire"
)

// TestChainTooLongKilledAtEachCall: a container's file ends in an open line, and what the next file
// has of it is too much for one line. The agent is killed at each of its calls, with its state or
// without. The end of the first file is sent by itself, and before the next file.
func TestChainTooLongKilledAtEachCall(t *testing.T) {
	for _, state := range []string{"kept", "lost"} {
		for _, stored := range []bool{true, false} {
			t.Run(fmt.Sprintf("state %s, answer lost %v", state, stored), func(t *testing.T) {
				t.Parallel()
				atEachCall(t, 1, func(at int) bool { return tooLongKilled(t, state, at, stored) })
			})
		}
	}
}

// tooLongKilled is one run; it returns false if it ended before the kill.
func tooLongKilled(t *testing.T, state string, at int, stored bool) bool {
	p := newPods(t)
	tables := p.change
	p.change = func(t *Tailer) {
		tables(t)
		t.MaxLine, t.Grace = 256, time.Minute // the end is sent because the next file cannot have it
	}
	k := &killed{rig: p.rig, at: at, stored: stored}
	k.arm()
	begin, rest := strings.Repeat("b", 180), strings.Repeat("r", 180)
	p.write("0.log", "stdout", "F", "one").write("0.log", "stderr", "P", begin).write("0.log", "stdout", "F", "held")
	p.run()
	k.settle("one")
	p.rotate(1).write("0.log", "stderr", "F", rest).write("0.log", "stdout", "F", "two")
	want := "one held " + begin + " " + wire.SplitGoesOn + rest + " two"
	if k.settle(want); !k.isDead() {
		p.await(func() bool { return k.isDead() || p.allSent(2) })
	}
	if !k.end() {
		return false
	}
	if state != "kept" {
		p.state = t.TempDir()
	}
	p.collector.fail, p.collector.failing = nil, nil
	p.run().expect(want)
	p.drained(2).expect(want)
	p.halt()
	return true
}

// TestChainRecordBeforeLongLine: a file ends in an open record of several lines, and the next one
// begins with a line that is longer than any. The record is sent, and then the line.
func TestChainRecordBeforeLongLine(t *testing.T) {
	p := newPods(t)
	p.change = func(t *Tailer) {
		t.MaxLine = 256
		t.Tables = []Table{{Paths: []string{filepath.Join(p.dir, "*/*/*.log")}, Container: true,
			Decoder: &decode.Multiline{Of: decode.CRI{}, First: regexp.MustCompile(`^ID`), MaxLines: 9, MaxBytes: 200,
				Timeout: 50 * time.Millisecond}}}
	}
	if err := os.MkdirAll(p.path(podFile), 0o750); err != nil {
		t.Fatal(err)
	}
	p.append(podFile+"0.log", "2026-01-01T00:00:00Z stdout F ID-1\n2026-01-01T00:00:00Z stdout F at\n")
	p.rotate(1)
	long := strings.Repeat("x", 150)
	for _, tag := range []string{"P", "P", "F"} {
		p.append(podFile+"0.log", "2026-01-01T00:00:00Z stdout "+tag+" "+long+"\n")
	}
	p.append(podFile+"0.log", "2026-01-01T00:00:00Z stdout F ID-2\n")
	p.run()
	p.await(func() bool { return strings.Contains(p.collector.lines(), "ID-2") })
	if got := p.collector.lines(); strings.Count(got, "x") != 450 || strings.Count(got, "ID-1") != 1 {
		t.Errorf("lines: %s", got)
	}
}

// TestTakeEndWhileSent: a file whose follower has begun to send its end owes it to the next file.
func TestTakeEndWhileSent(t *testing.T) {
	f := &follower{t: &Tailer{}}
	f.reading.eof.Store(10)
	if end, _ := f.takeEnd(); end != nil || f.openEnd.state != endRefused {
		t.Errorf("state %v", f.openEnd.state)
	}
}
