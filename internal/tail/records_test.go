package tail

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fanin/internal/tail/decode"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// digitRecords are options for records whose first line begins with a digit.
func digitRecords(timeout time.Duration) decode.Options {
	return decode.Options{Multiline: &decode.Multiline{First: regexp.MustCompile(`^\d`), MaxLines: 500,
		MaxBytes: 1 << 20, Timeout: timeout}}
}

// recordFile is a file of records, and the records in it.
func recordFile(records int) (text string, want []string) {
	for i := range records {
		record := fmt.Sprintf("%d begins", i)
		for line := range i % 4 {
			record += fmt.Sprintf("\n\tat %d.%d (\xc0)", i, line)
		}
		want = append(want, record)
		text += record + "\n"
	}
	return text, want
}

// readRecords reads the records from c on until none is complete, in blocks up to largest.
func readRecords(t *testing.T, f *file, c cursor, largest int, final bool) (got []string, to cursor) {
	t.Helper()
	scale := f.decoded(true).Scale()
	for size := 64; ; {
		r, err := f.readBatch(c, make([]byte, size*scale), limits{line: 1 << 10, block: largest * scale}, final, -1)
		switch {
		case err != nil:
			t.Fatal(err)
		case len(r.text) == 0 && r.short && size < largest:
			size *= 2
			continue
		case len(r.text) == 0:
			return got, c
		}
		kept := collector{}
		kept.keep(&wire.Batch{Text: r.text, Marks: r.marks, Joined: r.joined})
		got, c = append(got, kept.order...), r.to
	}
}

// TestRecordsKilledAtEveryByte: the reader of a growing file is killed at each byte and
// resumes with nothing but the offset. Every record comes once, whole and in order: in
// UTF-8, in UTF-16, and around lines of containers.
func TestRecordsKilledAtEveryByte(t *testing.T) {
	text, want := recordFile(12)
	cri := ""
	for i, line := range strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n") {
		cri += fmt.Sprintf("2026-11-26T03:00:00.%09dZ stderr P %s\n", i, line[:1])
		cri += fmt.Sprintf("2026-11-26T03:00:00.%09dZ stderr F %s\n", i, strings.TrimSuffix(line[1:], "\n"))
	}
	for name, test := range map[string]struct {
		options decode.Options
		raw     string
	}{
		"utf-8":    {decode.Options{}, text},
		"utf-16le": {decode.Options{Encoding: "utf-16le"}, utf16Text(binary.LittleEndian, "\ufeff"+text)},
		"auto":     {decode.Options{Encoding: "auto"}, utf16Text(binary.BigEndian, "\ufeff"+text)},
		"cri":      {decode.Options{Format: "cri"}, cri},
	} {
		want := want
		if strings.HasPrefix(name, "utf-16") || name == "auto" {
			want = slices.Clone(want)
			for i := range want {
				want[i] = strings.ToValidUTF8(want[i], "\ufffd")
			}
		}
		test.options.Multiline = digitRecords(time.Hour).Multiline
		f := openTest(t, nil)
		f.decodeAs(&Table{Text: test.options})
		for killed := range len(test.raw) + 1 {
			write := func(text string) {
				if err := os.WriteFile(f.f.path, []byte(text), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			write(test.raw[:killed])
			f.chooseAgain()
			var before []string
			var at cursor
			if f.decoded(false) != nil {
				before, at = readRecords(t, f, cursor{}, 64<<10, false)
			}
			write(test.raw)
			f.chooseAgain()
			c, err := f.cursorAt(at.Offset, 0)
			if err != nil || c.Point != at.Point || c.inside != at.inside {
				t.Fatalf("%s, killed at %d: the place is %+v, was %+v: %v", name, killed, c, at, err)
			}
			after, end := readRecords(t, f, c, 64<<10, true)
			if got := append(before, after...); !slices.Equal(got, want) || end.Offset != int64(len(test.raw)) {
				t.Fatalf("%s, killed at %d of %d: %q, want %q", name, killed, len(test.raw), got, want)
			}
		}
	}
}

// records waits until exactly these are kept.
func (r *rig) records(want ...string) *rig {
	r.Helper()
	return r.expect(strings.Join(want, " "))
}

// TestFollowsRecords: an open record waits for its next line, across restarts without any
// state, and is sent when its file was silent for the timeout; what comes later is another
// record.
func TestFollowsRecords(t *testing.T) {
	r := newRig(t)
	timeout := time.Hour
	r.change = func(t *Tailer) { t.Tables[0].Text = digitRecords(timeout) }
	r.append("a.log", "1 begins\n\tat a\n").append("a.log", "2 begins\n\tat b\n").run().records("1 begins\n\tat a")
	r.append("a.log", "\tat c\n\tat ")
	for range 3 {
		r.halt()
		r.state = t.TempDir()
		r.run().polled(5).records("1 begins\n\tat a")
	}
	r.append("a.log", "d\n3 begins\n").records("1 begins\n\tat a", "2 begins\n\tat b\n\tat c\n\tat d")
	r.halt()
	timeout = 30 * time.Millisecond
	r.run().records("1 begins\n\tat a", "2 begins\n\tat b\n\tat c\n\tat d", "3 begins")
	r.append("a.log", "\tat late\n").records("1 begins\n\tat a", "2 begins\n\tat b\n\tat c\n\tat d", "3 begins", "\tat late")
	if n := r.tailer.Counts()["divided_records"]; n != 0 {
		t.Errorf("%d records ended at a bound", n)
	}
}

// TestRecordAcrossRotation: a file that is renamed, or copied and truncated, in the middle
// of a record ends that record, and what follows it in the new file is another one.
func TestRecordAcrossRotation(t *testing.T) {
	for _, copied := range []bool{false, true} {
		r := newRig(t)
		r.change = func(t *Tailer) { t.Tables[0].Text, t.Tables[0].Exclude = digitRecords(time.Hour), []string{"*.1"} }
		first := "1 " + strings.Repeat("begins ", 200) + "\n\tat a\n"
		last := "2 begins\n\tat b\n"
		r.append("a.log", first).append("a.log", last).run().records(strings.TrimSuffix(first, "\n"))
		if copied {
			r.copyTruncate("a.log", "a.log.1")
		} else {
			r.rename("a.log", "a.log.1")
		}
		r.append("a.log", "\tat c\n3 begins\n4 begins\n")
		want := []string{strings.TrimSuffix(first, "\n"), strings.TrimSuffix(last, "\n"), "\tat c", "3 begins"}
		if !copied {
			r.records(want...)
			continue
		}
		slices.Sort(want) // the rest of the copy is another stream
		waittest.UntilEqual(r, "the records", strings.Join(want, " "), func() string {
			r.collector.mu.Lock()
			defer r.collector.mu.Unlock()
			return strings.Join(slices.Sorted(slices.Values(r.collector.order)), " ")
		})
	}
}

// TestRecordTruncated: a file that is truncated in the middle of a record, and written
// again, loses what was in it, and nothing else.
func TestRecordTruncated(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Tables[0].Text = digitRecords(time.Hour) }
	r.append("a.log", "1 begins\n\tat a\n2 begins\n\tat lost\n").run().records("1 begins\n\tat a")
	if err := os.Truncate(r.path("a.log"), 0); err != nil {
		t.Fatal(err)
	}
	r.append("a.log", "3 begins\n\tat c\n4 begins\n").records("1 begins\n\tat a", "3 begins\n\tat c")
}

// TestFollowsUTF16: the decoder is chosen when the file has enough to choose by, again
// after a truncation, and a start without state knows it from the file.
func TestFollowsUTF16(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Tables[0].Text.Encoding = "auto" }
	le := func(text string) string { return utf16Text(binary.LittleEndian, text) }
	r.append("a.log", "\xff").run().polled(3).append("a.log", "\xfe"+le("журнал\r\n")+"h").records("журнал\r")
	r.append("a.log", le("half")[1:]+le("\n")).records("журнал\r", "half")
	r.halt()
	r.state = t.TempDir()
	r.append("a.log", le("three\n")).run().records("журнал\r", "half", "three")
	if err := os.Truncate(r.path("a.log"), 0); err != nil {
		t.Fatal(err)
	}
	r.append("a.log", "now it is UTF-8\n").records("журнал\r", "half", "three", "now it is UTF-8")
	if n := r.tailer.Counts()["wide_files"]; n != 0 {
		t.Errorf("%d files are reported", n)
	}
}

// podRecords returns a rig for containers whose records begin with a digit.
func podRecords(t testing.TB, timeout time.Duration) *pods {
	p := newPods(t)
	p.change = func(t *Tailer) {
		text := digitRecords(timeout)
		text.Format = "cri"
		t.Tables = []Table{{Paths: []string{filepath.Join(p.dir, "*/*/*.log")}, Container: true, Text: text}}
	}
	return p
}

// TestContainerRecords: a record of one stream goes on around lines of the other one, and
// in the next file. One that nothing continues is sent after the timeout.
func TestContainerRecords(t *testing.T) {
	p := podRecords(t, time.Second)
	p.write("0.log", "stderr", "F", "1 error").write("0.log", "stdout", "F", "2 line").write("0.log", "stderr", "P", "\tat ")
	p.write("0.log", "stdout", "F", "3 line").write("0.log", "stderr", "F", "a").write("0.log", "stderr", "F", "4 error")
	p.write("0.log", "stderr", "F", "\tat b")
	p.rotate(1).write("0.log", "stderr", "F", "\tat c").write("0.log", "stdout", "F", "5 line").run()
	p.records("1 error\n\tat a", "2 line", "3 line", "4 error\n\tat b\n\tat c", "5 line")
	p.write("0.log", "stderr", "F", "\tat late").records("1 error\n\tat a", "2 line", "3 line", "4 error\n\tat b\n\tat c", "5 line", "\tat late")
}

// TestContainerRecordsKilledAtEachCall: the agent is killed at each of its calls to the
// collector, while the files rotate in the middle of a record. Each line is there once.
func TestContainerRecordsKilledAtEachCall(t *testing.T) {
	for _, state := range []string{"kept", "lost"} {
		for _, stored := range []bool{true, false} {
			t.Run(fmt.Sprintf("state %s, answer lost %v", state, stored), func(t *testing.T) {
				t.Parallel()
				atEachCall(t, 1, func(at int) bool { return containerRecordsKilled(t, state, at, stored) })
			})
		}
	}
}

// containerRecordsKilled is one run; it returns false if it ended before the kill.
func containerRecordsKilled(t *testing.T, state string, at int, stored bool) bool {
	p := podRecords(t, 500*time.Millisecond)
	k := &killed{rig: p.rig, at: at, stored: stored}
	k.arm()
	p.write("0.log", "stderr", "F", "1e").write("0.log", "stdout", "F", "2o").write("0.log", "stderr", "F", "at1").write("0.log", "stderr", "F", "3e")
	p.run()
	k.settle("1e at1 2o 3e")
	p.write("0.log", "stderr", "F", "4e").write("0.log", "stderr", "P", "a")
	p.rotate(1).write("0.log", "stderr", "F", "t4").write("0.log", "stdout", "F", "5o").write("0.log", "stderr", "F", "at4")
	k.settle("1e at1 2o 3e 4e at4 5o at4")
	p.await(func() bool { return k.isDead() || p.allSent(2) })
	if !k.end() {
		return false
	}
	if state != "kept" {
		p.state = t.TempDir()
	}
	p.collector.fail, p.collector.failing = nil, nil
	p.run().expectSet("1e at1 2o 3e 4e at4 5o at4")
	p.write("0.log", "stdout", "F", "6o").expectSet("1e at1 2o 3e 4e at4 5o at4 6o")
	p.drained(2).expectSet("1e at1 2o 3e 4e at4 5o at4 6o")
	p.halt()
	return true
}
