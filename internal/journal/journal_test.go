package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fanin/internal/sequence"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// remote is the program of systemd that writes journal files from the export format.
const remote = "/lib/systemd/systemd-journal-remote"

// base is the time of the entry number 0 of tests, in microseconds since 1970.
const base = 1_700_000_000_000_000

// export is an entry in the export format, with a message that names it.
func export(n int, fields ...string) string {
	return exportAt(base+int64(n)*1000, fmt.Sprintf("entry %d", n), fields...)
}

func exportAt(at int64, message string, fields ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%032x\n", at, at-base+1, at/1e12)
	if strings.Contains(message, "\n") {
		fmt.Fprintf(&b, "MESSAGE\n%s%s\n", lengthOf(message), message)
	} else {
		fmt.Fprintf(&b, "MESSAGE=%s\n", message)
	}
	for _, f := range fields {
		b.WriteString(f + "\n")
	}
	return b.String() + "\n"
}

func lengthOf(value string) []byte {
	var b [8]byte
	for i := range b {
		b[i] = byte(len(value) >> (8 * i))
	}
	return b[:]
}

func exports(from, to int, fields ...string) string {
	var b strings.Builder
	for n := from; n <= to; n++ {
		b.WriteString(export(n, fields...))
	}
	return b.String()
}

// writeJournal appends entries to a file of a journal.
func writeJournal(t testing.TB, file, text string) {
	t.Helper()
	if _, err := os.Stat(remote); err != nil {
		t.Skip("systemd-journal-remote is not installed")
	}
	if _, err := exec.LookPath(program); err != nil {
		t.Skip("journalctl is not installed")
	}
	c := exec.Command(remote, "--output="+file, "-")
	c.Stdin = strings.NewReader(text)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", remote, err, out)
	}
}

// running is a Journal that sends to memory.
type running struct {
	*Journal
	out  *appendertest.Memory
	stop func()
}

func run(t testing.TB, out *appendertest.Memory, s Settings) *running {
	t.Helper()
	s.Out = out
	j := &Journal{Settings: s}
	j.Welcome(out.Welcome(""), 0)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ends by stop
		defer close(done)
		if err := j.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("run ended with %v", err)
		}
	}()
	r := &running{Journal: j, out: out, stop: func() { cancel(); <-done }}
	t.Cleanup(r.stop)
	return r
}

// texts is all lines in the order of their commits.
func texts(out *appendertest.Memory) (all []string) {
	for _, b := range out.Kept() {
		for _, line := range strings.SplitAfter(string(b.Text), "\n") {
			if line != "" {
				all = append(all, strings.TrimSuffix(line, "\n"))
			}
		}
	}
	return all
}

// entries is the messages of export from one number to another.
func entries(from, to int) (all []string) {
	for n := from; n <= to; n++ {
		all = append(all, fmt.Sprintf("entry %d", n))
	}
	return all
}

func await(t testing.TB, out *appendertest.Memory, want []string) {
	t.Helper()
	for end := time.Now().Add(waittest.Limit); len(texts(out)) < len(want) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	got := texts(out)
	if !slices.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("line %d of %d is %.200q; want %.200q of %d", i, len(got), got[i], want[i], len(want))
			}
		}
		t.Fatalf("%d lines, the last %.300q; want %d", len(got), strings.Join(got[max(0, len(got)-3):], ","), len(want))
	}
}

// TestFollow: what the journal has comes once, in order, and then what is added; also after a
// stop, when only the collector knows how far it was sent.
func TestFollow(t *testing.T) {
	dir, out := t.TempDir(), new(appendertest.Memory)
	file := filepath.Join(dir, "a.journal")
	writeJournal(t, file, exports(1, 100))
	j := run(t, out, Settings{Directory: dir})
	await(t, out, entries(1, 100))
	writeJournal(t, file, exports(101, 150))
	await(t, out, entries(1, 150))
	j.stop()
	writeJournal(t, file, exports(151, 200))
	j = run(t, out, Settings{Directory: dir})
	await(t, out, entries(1, 200))
	if n := out.Repeats(); n > 0 {
		t.Errorf("%d batches were sent again", n)
	}
	if s := j.Status(); s.Entry != 200 || !s.Time.Equal(time.UnixMicro(base+200_000)) {
		t.Errorf("status is %+v", s)
	}
}

// TestBoots: entries of earlier boots, and of sequences that began anew, are read too.
func TestBoots(t *testing.T) {
	dir, out := t.TempDir(), new(appendertest.Memory)
	const boot = 1_000_000_000 // numbers of two boots differ by that much
	var want []string
	for b := range 3 {
		text := ""
		for n := b*boot + 1; n <= b*boot+10; n++ {
			text += export(n)
			want = append(want, fmt.Sprintf("entry %d", n))
		}
		file := "one.journal"
		if b == 2 {
			file = "other.journal" // with a sequence of its own
		}
		writeJournal(t, filepath.Join(dir, file), text)
	}
	j := run(t, out, Settings{Directory: dir})
	await(t, out, want)
	j.stop()
	if n := len(out.Streams()); n != 2 {
		t.Errorf("%d streams; want one for each sequence", n)
	}
	writeJournal(t, filepath.Join(dir, "other.journal"), export(2*boot+11))
	writeJournal(t, filepath.Join(dir, "one.journal"), export(3*boot+1)) // the older file goes on
	run(t, out, Settings{Directory: dir})
	await(t, out, append(want, fmt.Sprintf("entry %d", 2*boot+11), fmt.Sprintf("entry %d", 3*boot+1)))
}

// TestMessages: whatever bytes a message has, it becomes lines.
func TestMessages(t *testing.T) {
	dir, out := t.TempDir(), new(appendertest.Memory)
	long := strings.Repeat("x", 3000)
	writeJournal(t, filepath.Join(dir, "a.journal"), exportAt(base+1, "plain", "_SYSTEMD_UNIT=app@1.service", "_PID=7")+
		exportAt(base+2, "two\nlines\n", "SYSLOG_IDENTIFIER=my app")+
		exportAt(base+3, "nul \x00 and \xff\n", "_TRANSPORT=kernel")+
		exportAt(base+4, long)+
		fmt.Sprintf("__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=5\n_BOOT_ID=%032x\nPRIORITY=3\n\n", base+5, 1)+
		exportAt(base+6, "", "_SOURCE_REALTIME_TIMESTAMP="+fmt.Sprint(base+3)))
	run(t, out, Settings{Directory: dir, PID: true, MaxLine: 2048})
	cut := 2048 - len(wire.SplitMark) - len(wire.SplitGoesOn) - 1
	await(t, out, []string{"plain", "two\xc0\x8alines", "nul \x00 and \xff", long[:cut] + wire.SplitMark,
		wire.SplitGoesOn + long[cut:], ""})
	var got []string
	for _, b := range out.Kept() {
		if wire.IsRecord(b.Text) && !b.Joined {
			t.Error("a record of two lines is in a batch of single ones")
		}
		for labels, text := range b.Runs() {
			got = append(got, fmt.Sprintf("%s %d %d", labels.Source, labels.Time.UnixMicro()-base, bytes.Count(text, []byte{'\n'})))
		}
	}
	want := []string{wire.CleanSource("app@1[7]") + " 1 1", "my_app 2 1", "kernel 3 1", "journal 4 2", "journal 3 1"}
	if !slices.Equal(got, want) {
		t.Errorf("labels are %q, want %q", got, want)
	}
}

// TestFilter: only entries that pass become lines, and the others are not missing.
func TestFilter(t *testing.T) {
	dir, out := t.TempDir(), new(appendertest.Memory)
	var text string
	for n := 1; n <= 30; n++ {
		text += export(n, fmt.Sprintf("_SYSTEMD_UNIT=unit%d.service", n%3), fmt.Sprintf("PRIORITY=%d", n%5))
	}
	text += export(31, "_SYSTEMD_UNIT=systemd-journald.service", "MESSAGE_ID="+idDropped, "N_DROPPED=12")
	writeJournal(t, filepath.Join(dir, "a.journal"), text)
	j := run(t, out, Settings{Directory: dir, Units: []string{"unit1", "x*"}, Matches: []string{"PRIORITY=1", "PRIORITY=2"}})
	await(t, out, []string{"entry 1", "entry 7", "entry 16", "entry 22", "entry 31"})
	waittest.UntilEqual(t, "the suppressed messages", 12, func() uint64 { return j.Counts()["journal_suppressed_messages"] })
	if n := j.Counts()["journal_missing_entries"]; n > 0 {
		t.Errorf("%d entries are missing", n)
	}
}

// TestSmallBatches: no batch has more text and labels than the session allows, as over NATS, and
// what is longer is split.
func TestSmallBatches(t *testing.T) {
	const most = 20_000
	dir := t.TempDir()
	out := &appendertest.Memory{Before: func(_ context.Context, b wire.Batch) error {
		if n := len(b.Text) + b.LabelBytes(); n > most {
			return fmt.Errorf("a batch of %d bytes", n)
		}
		return nil
	}}
	long := strings.Repeat("y", 50_000)
	field := "FIELD=" + strings.Repeat("z", wire.MaxAttributes-100)
	text := exports(1, 900)
	for n := 901; n <= 1000; n++ {
		text += export(n, fmt.Sprintf("%s%d", field, n))
	}
	writeJournal(t, filepath.Join(dir, "a.journal"), text+exportAt(base+2_000_000, long, field))
	j := &Journal{Settings: Settings{Directory: dir, Out: out, Fields: []string{"FIELD"}}}
	j.Welcome(out.Welcome(""), most)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { j.Run(ctx); close(done) }() // ends by cancel
	defer func() { cancel(); <-done }()
	waittest.UntilEqual(t, "the bytes of the long line", len(long), func() int {
		return strings.Count(strings.Join(texts(out), ""), "y") - 1000
	})
	if got := texts(out)[:1000]; !slices.Equal(got, entries(1, 1000)) {
		t.Errorf("%.200q", got)
	}
}

// TestPieces: a message has no more pieces than its entry has offsets.
func TestPieces(t *testing.T) {
	for message, want := range map[string]bool{
		strings.Repeat("a\n", maxMessage/2): true, strings.Repeat("ä", maxMessage/2): false,
	} {
		r := reader{line: 256}
		text, short := r.text([]byte(message))
		n := bytes.Count(text, []byte{'\n'})
		if n > sequence.MaxLines || short != want {
			t.Errorf("%d pieces, short %v", n, short)
		}
		for line := range bytes.Lines(text) {
			if len(line) > r.line {
				t.Fatalf("a piece of %d bytes", len(line))
			}
		}
	}
}

// TestFields: the fields that are wanted are attributes of the line, each value that an entry has.
func TestFields(t *testing.T) {
	dir, out := t.TempDir(), new(appendertest.Memory)
	writeJournal(t, filepath.Join(dir, "a.journal"), export(1, "PRIORITY=3", "TAG=a", "TAG=b", "_UID=0")+export(2, "_UID=1")+
		export(3)+export(4, "PRIORITY="+strings.Repeat("long", 2000), "_UID=1"))
	run(t, out, Settings{Directory: dir, Fields: []string{"PRIORITY", "TAG", "_UID"}, Matches: []string{"_UID=0", "_UID=1"}})
	await(t, out, []string{"entry 1", "entry 2", "entry 4"})
	var got []string
	for _, b := range out.Kept() {
		for labels := range b.Runs() {
			var all string
			for name, value := range labels.Attributes.All() {
				all += name + "=" + value + " "
			}
			got = append(got, all)
		}
	}
	if want := []string{"PRIORITY=3 TAG=a TAG=b _UID=0 ", "_UID=1 ", "_UID=1 "}; !slices.Equal(got, want) {
		t.Errorf("the attributes are %q, want %q", got, want)
	}
}

// TestHost: a source may have the name of the machine that an entry is from.
func TestHost(t *testing.T) {
	dir, out := t.TempDir(), new(appendertest.Memory)
	writeJournal(t, filepath.Join(dir, "a.journal"), export(1, "_HOSTNAME=web-1", "_SYSTEMD_UNIT=nginx.service")+
		export(2, "_HOSTNAME=web-2", "_SYSTEMD_UNIT=nginx.service")+export(3, "_SYSTEMD_UNIT=nginx.service"))
	run(t, out, Settings{Directory: dir, Source: "{host}/{unit}"})
	await(t, out, entries(1, 3))
	var got []string
	for _, b := range out.Kept() {
		for labels := range b.Runs() {
			got = append(got, labels.Source)
		}
	}
	if want := []string{"web-1/nginx", "web-2/nginx", "-/nginx"}; !slices.Equal(got, want) {
		t.Errorf("sources are %q, want %q", got, want)
	}
}
