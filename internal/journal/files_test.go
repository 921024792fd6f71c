package journal

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// continueIn makes an empty file of a journal whose first entry gets the number behind last,
// in the sequence of another file, as a rotation leaves it. See
// https://systemd.io/JOURNAL_FILE_FORMAT for the header.
func continueIn(t testing.TB, file, other string, last uint64) {
	t.Helper()
	writeJournal(t, file, "")
	const sequence, tail = 72, 160
	from, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteAt(from[sequence:sequence+16], sequence)
	if _, err := f.WriteAt(binary.LittleEndian.AppendUint64(nil, last), tail); err != nil {
		t.Fatal(err)
	}
}

// skips is the reasons of what was skipped.
func skips(out *appendertest.Memory) (all []string) {
	for _, b := range out.Kept() {
		if b.Op == wire.OpSkip {
			all = append(all, b.Reason)
		}
	}
	return all
}

// TestVacuumed: what was removed before it could be sent is counted, and the log has how many
// entries that are; what was removed afterwards is not missing.
func TestVacuumed(t *testing.T) {
	dir, out := t.TempDir(), new(appendertest.Memory)
	files := make([]string, 4)
	for i := range files {
		files[i] = filepath.Join(dir, fmt.Sprintf("%d.journal", i))
	}
	writeJournal(t, files[0], exports(1, 100))
	j := run(t, out, Settings{Directory: dir})
	await(t, out, entries(1, 100))
	j.stop()
	continueIn(t, files[1], files[0], 100)
	writeJournal(t, files[1], exports(101, 140))
	continueIn(t, files[2], files[1], 140)
	writeJournal(t, files[2], exports(141, 200))
	os.Remove(files[0]) // the last entry that was sent is gone too
	os.Remove(files[1])
	j = run(t, out, Settings{Directory: dir})
	want := append(entries(1, 100), entries(141, 200)...)
	await(t, out, want)
	waittest.UntilEqual(t, "the missing entries", 40, func() uint64 { return j.Counts()["journal_missing_entries"] })
	if got := skips(out); !slices.Equal(got, []string{"40 entries are missing in the journal"}) {
		t.Errorf("skipped %q", got)
	}
	j.stop()
	continueIn(t, files[3], files[2], 200)
	os.Remove(files[2]) // all of it was sent
	writeJournal(t, files[3], exports(201, 210))
	run(t, out, Settings{Directory: dir})
	await(t, out, append(want, entries(201, 210)...))
	if got := skips(out); len(got) != 1 {
		t.Errorf("skipped %q", got)
	}
}

// TestVacuumedWhileRead: files are removed while the collector does not answer, and journalctl is
// killed. Each entry is in the log, or counted as missing.
func TestVacuumedWhileRead(t *testing.T) {
	const files, each = 4, 3000
	dir := t.TempDir()
	file := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%d.journal", i)) }
	for i := range files {
		if i > 0 {
			continueIn(t, file(i), file(i-1), uint64(i*each))
		}
		writeJournal(t, file(i), exports(i*each+1, (i+1)*each))
	}
	answer, asked := make(chan struct{}), make(chan struct{}, 1)
	out := &appendertest.Memory{Before: func(_ context.Context, b wire.Batch) error {
		if b.Op == wire.OpData {
			signal(asked)
			<-answer
		}
		return nil
	}}
	j := run(t, out, Settings{Directory: dir})
	<-asked
	for i := range files - 1 {
		os.Remove(file(i))
	}
	killChildren(t)
	close(answer)
	waittest.Until(t, "the last entry", func() bool { return j.Status().Entry == files*each })
	got := texts(out)
	missing := int(j.Counts()["journal_missing_entries"])
	if len(got)+missing != files*each || len(got) < each {
		t.Errorf("%d lines and %d missing entries, want %d together", len(got), missing, files*each)
	}
	last := 0
	for _, line := range got {
		var n int
		if fmt.Sscanf(line, "entry %d", &n); n <= last {
			t.Fatalf("entry %d is behind %d", n, last)
		}
		last = n
	}
	t.Logf("%d lines, %d missing", len(got), missing)
}

// killChildren kills all runs of journalctl.
func killChildren(t *testing.T) {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Skip("the children of a process are not known here")
	}
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for _, word := range strings.Fields(string(b)) {
			name, _ := os.ReadFile("/proc/" + word + "/comm")
			if pid, err := strconv.Atoi(word); err == nil && strings.TrimSpace(string(name)) == program {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}

// TestRotatedWhileFollowed: entries in a file that appears while journalctl runs come in order.
func TestRotatedWhileFollowed(t *testing.T) {
	dir, out := t.TempDir(), new(appendertest.Memory)
	file := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%d.journal", i)) }
	writeJournal(t, file(0), exports(1, 10))
	j := run(t, out, Settings{Directory: dir})
	await(t, out, entries(1, 10))
	spool := t.TempDir()
	for i := 1; i <= 5; i++ {
		made := filepath.Join(spool, "made.journal")
		continueIn(t, made, file(i-1), uint64(10*i))
		writeJournal(t, made, exports(10*i+1, 10*i+10))
		if err := os.Rename(made, file(i)); err != nil {
			t.Fatal(err)
		}
		await(t, out, entries(1, 10*i+10))
	}
	if n := j.Counts()["journal_missing_entries"]; n > 0 || len(skips(out)) > 0 {
		t.Errorf("%d entries are missing, skipped %q", n, skips(out))
	}
}

// TestLogLosesItsState: a log that was made anew gets no entry that the one before had, while
// this process knows; the log has a notice instead.
func TestLogLosesItsState(t *testing.T) {
	dir, out := t.TempDir(), &appendertest.Memory{Log: wire.StreamID{1}, Incarnation: wire.StreamID{1}}
	file := filepath.Join(dir, "a.journal")
	writeJournal(t, file, exports(1, 50))
	j := run(t, out, Settings{Directory: dir})
	await(t, out, entries(1, 50))
	out.Forget()
	out.Incarnation = wire.StreamID{2}
	j.Welcome(out.Welcome(""), 0)
	writeJournal(t, file, exports(51, 60))
	await(t, out, entries(1, 60))
	if got := skips(out); !slices.Equal(got, []string{"kept in an earlier life of the log"}) {
		t.Errorf("skipped %q", got)
	}
	out.Forget() // by an operator's command: the incarnation is the same
	writeJournal(t, file, exports(61, 70))
	await(t, out, entries(1, 70))
}

// TestSaved: what is saved counts where the log has lost its state while the agent was away, and
// saves reading again what the filter left out. Damaged, it changes nothing.
func TestSaved(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	out := &appendertest.Memory{Log: wire.StreamID{1}, Incarnation: wire.StreamID{1}}
	file := filepath.Join(dir, "a.journal")
	writeJournal(t, file, exports(1, 50, "PRIORITY=1")+exports(51, 80, "PRIORITY=2"))
	s := Settings{Directory: dir, State: state, Matches: []string{"PRIORITY=1"}}
	j := run(t, out, s)
	await(t, out, entries(1, 50))
	waittest.UntilEqual(t, "the last entry", 80, func() uint64 { return j.Status().Entry })
	j.stop()
	out.Forget()
	out.Incarnation = wire.StreamID{2}
	continueIn(t, filepath.Join(dir, "b.journal"), file, 80)
	os.Remove(file) // what was left out is not missing
	writeJournal(t, filepath.Join(dir, "b.journal"), exports(81, 90, "PRIORITY=1"))
	j = run(t, out, s)
	waittest.UntilEqual(t, "the new lines", 60, func() int { return len(texts(out)) })
	j.stop()
	if got := skips(out); !slices.Equal(got, []string{"kept in an earlier life of the log"}) {
		t.Errorf("skipped %q", got)
	}
	whole, err := os.ReadFile(filepath.Join(state, savedName))
	if err != nil {
		t.Fatal(err)
	}
	step := max(1, len(whole)/40)
	for i := 0; i < len(whole); i += step {
		damaged := slices.Clone(whole)
		damaged[i] ^= 0x10
		if err := os.WriteFile(filepath.Join(state, savedName), damaged[:len(damaged)-i%3], 0o640); err != nil {
			t.Fatal(err)
		}
		list, err := parseSaved(damaged)
		if len(list) > 1 || err == nil {
			t.Fatalf("byte %d changed: %d places, %v", i, len(list), err)
		}
	}
	writeJournal(t, filepath.Join(dir, "b.journal"), exports(91, 95, "PRIORITY=1"))
	run(t, out, s)
	await(t, out, append(entries(1, 50), entries(81, 95)...))
}

// TestLarge: a message of several megabytes is sent in pieces, whole, also when its second half
// is sent after a kill.
func TestLarge(t *testing.T) {
	dir, out := t.TempDir(), new(appendertest.Memory)
	var message strings.Builder
	for n := range 60_000 {
		fmt.Fprintf(&message, "line %d of a message, which is as long as lines often are\n", n)
	}
	writeJournal(t, filepath.Join(dir, "a.journal"), export(1)+exportAt(base+2000, message.String())+export(3))
	j := run(t, out, Settings{Directory: dir})
	waittest.Until(t, "a piece", func() bool { return len(texts(out)) > 1 })
	j.stop()
	run(t, out, Settings{Directory: dir})
	waittest.Until(t, "the end", func() bool { all := texts(out); return all[len(all)-1] == "entry 3" })
	var got strings.Builder
	all := texts(out)
	for _, piece := range all[1 : len(all)-1] {
		piece = strings.TrimSuffix(strings.TrimPrefix(piece, wire.SplitGoesOn), wire.SplitMark)
		got.Write(wire.AppendRecordText(nil, []byte(piece)))
	}
	if got.String() != strings.TrimSuffix(message.String(), "\n") {
		t.Errorf("%d bytes in %d pieces, want %d", got.Len(), len(all)-2, message.Len()-1)
	}
}

// TestManyMachines: in a directory with the journals of many machines, each is complete and in
// order.
func TestManyMachines(t *testing.T) {
	dir, out := t.TempDir(), new(appendertest.Memory)
	const machines, each = 12, 40
	for m := range machines {
		var text strings.Builder
		for n := range each {
			text.WriteString(exportAt(base+int64(n*machines+m+1)*1000, fmt.Sprintf("%d of %d", n, m)))
		}
		writeJournal(t, filepath.Join(dir, fmt.Sprintf("%d.journal", m)), text.String())
	}
	run(t, out, Settings{Directory: dir})
	waittest.UntilEqual(t, "the number of lines", machines*each, func() int { return len(texts(out)) })
	for _, id := range out.Streams() {
		got := out.Lines(id)
		for n, line := range got {
			if len(got) != each || line != fmt.Sprintf("%d of %s", n, strings.Fields(line)[2]) {
				t.Fatalf("line %d of %d is %q", n, len(got), line)
			}
		}
	}
}
