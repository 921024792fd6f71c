package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// fake puts a script in the place of journalctl. $dir is a directory of its own, and $run the
// number of this run; "print N M" prints the entries with these numbers, "new N M" those with
// the present time, both from the one on that the cursor names.
func fake(t *testing.T, script string) {
	t.Helper()
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("no /bin/sh")
	}
	dir := t.TempDir()
	head := `#!/bin/sh
dir=` + dir + `
case "$*" in *--version*) echo "systemd 252 (252.1)"; exit 0 ;; esac
cursor= from=1
case "$*" in *--cursor*) cursor=${*##*;i=} cursor=${cursor%%[; ]*} from=$((0x$cursor)) ;; esac
case "$*" in *--follow*) ;; *) probe=1 ;; esac
run=$(($(cat "$dir/run" 2>/dev/null || echo 0) + 1)); [ -n "$probe" ] || echo $run > "$dir/run"
entry() { printf '__CURSOR=s=0123456789abcdef0123456789abcdef;i=%x;b=0\n__REALTIME_TIMESTAMP=%s\nMESSAGE=entry %s\n\n' $1 $2 $1; }
print() { n=$1; [ $n -ge $from ] || n=$from; while [ $n -le $2 ]; do entry $n $((1700000000000000 + n * 1000)); n=$((n + 1)); done; }
[ -e "$dir/now" ] || date +%s000000 > "$dir/now"; now=$(cat "$dir/now")
new() { n=$1; [ $n -ge $from ] || n=$from; while [ $n -le $2 ]; do entry $n $((now + 500000000 + n)); n=$((n + 1)); done; }
idle() { exec sleep 100; }
`
	write(t, filepath.Join(dir, program), head+script+"\n")
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestCheck: what cannot be used is refused, with the remedy.
func TestCheck(t *testing.T) {
	for script, want := range map[string]string{
		"":                               "",
		"echo systemd 255.4-1ubuntu8":    "",
		"echo systemd 219":               "want journalctl of systemd 239 or later",
		"echo systemd 256~rc3":           "",
		"echo busybox":                   "not the journalctl of systemd",
		"printf '\\000\\377'":            "not the journalctl of systemd",
		"echo broken >&2; exit 3":        "exit status 3",
		"echo systemd x":                 "want journalctl of systemd 239 or later",
		"kill -9 $$":                     "killed",
		"yes systemd 252 | head -c 9000": "",
	} {
		fake(t, "")
		if script != "" {
			dir, _, _ := strings.Cut(os.Getenv("PATH"), string(os.PathListSeparator))
			write(t, filepath.Join(dir, program), "#!/bin/sh\n"+script+"\n")
		}
		err := Check(t.Context())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", script, err, want)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if err := Check(t.Context()); !errors.Is(err, errMissing) || !strings.Contains(err.Error(), "remove [agent.journal]") {
		t.Errorf("without journalctl: %v", err)
	}
}

// TestCheckRead: a journal that cannot be read is refused, and one without entries is not.
func TestCheckRead(t *testing.T) {
	path := os.Getenv("PATH")
	for script, want := range map[string]string{
		"print 3 3": "", "exit 0": "", "entry": "not in its export format",
		`echo "No journal files were opened due to insufficient permissions." >&2; exit 1`: "group systemd-journal",
		`echo "Failed to open x: No such file or directory" >&2; exit 1`:                   "No such file",
		"exit 1": "exit status 1",
	} {
		fake(t, script)
		err := CheckRead(t.Context(), "x")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", script, err, want)
		}
	}
	if _, err := os.Stat(remote); err != nil {
		return
	}
	t.Setenv("PATH", path)
	dir := t.TempDir()
	if err := CheckRead(t.Context(), filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that does not exist can be read")
	}
	if err := CheckRead(t.Context(), dir); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
	writeJournal(t, filepath.Join(dir, "a.journal"), exports(1, 3))
	if p, err := newest(t.Context(), dir); err != nil || p.number != 3 {
		t.Errorf("the newest entry is %+v, %v", p, err)
	}
}

// TestChildFails: however journalctl fails, reading goes on where it was, and the reason is
// reported.
func TestChildFails(t *testing.T) {
	for name, c := range map[string]struct {
		script  string
		trouble string
		missing uint64
	}{
		"killed":        {`print 1 $((run * 20)); [ $run = 5 ] && idle; kill -9 $$`, "killed", 0},
		"ends":          {`print 1 $((run * 20)); [ $run = 5 ] && idle; exit 0`, "it ended", 0},
		"bad message":   {`print 1 $((run * 20)); [ $run = 5 ] && idle; echo "Failed to iterate through journal: Bad message" >&2; exit 1`, "Bad message", 0},
		"torn":          {`print 1 $((run * 20)); [ $run = 5 ] && idle; printf '__CURSOR=s=0123456789abcdef0123456789abcdef;i=64;b=0\nMESSAGE=en'; exit 0`, "it ended", 0},
		"garbage":       {`[ $run = 1 ] || print 1 $((run * 20)); [ $run = 5 ] && idle; echo "-- No entries --"; idle`, "not in its export format", 0},
		"binary":        {`print 1 $((run * 20)); [ $run = 5 ] && idle; head -c 100000 /dev/zero; idle`, "not in its export format", 0},
		"at first":      {`[ $run -lt 4 ] && { echo "No journal files were opened due to insufficient permissions." >&2; exit 1; }; print 1 100; idle`, "insufficient permissions", 0},
		"vacuumed":      {`[ $run = 1 ] && { print 1 60; exit 1; }; print 81 100; idle`, "exit status 1", 20},
		"number again":  {`[ $run = 1 ] && { print 1 50; print 20 30; print 51 90; exit 1; }; print 1 100; idle`, "exit status 1", 0},
		"other machine": {`print 1 100; printf '__CURSOR=s=1123456789abcdef0123456789abcdef;i=9;b=0\n__REALTIME_TIMESTAMP=1\n_PID=1\n\n'; idle`, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			fake(t, c.script)
			out := new(appendertest.Memory)
			j := run(t, out, Settings{Directory: "x"})
			reported := ""
			waittest.Until(t, "all lines", func() bool {
				if s := j.Status(); s.Trouble != "" {
					reported += s.Trouble + "\n"
				}
				return len(texts(out)) >= 100-int(c.missing)
			})
			want := entries(1, 100)
			if c.missing > 0 {
				want = append(entries(1, 60), entries(81, 100)...)
			}
			if got := texts(out); !slices.Equal(got, want) {
				t.Errorf("lines are %q", got)
			}
			if !strings.Contains(reported, c.trouble) {
				t.Errorf("reported %q, want %q", reported, c.trouble)
			}
			if n := j.Counts()["journal_missing_entries"]; n != c.missing {
				t.Errorf("%d entries are missing, want %d", n, c.missing)
			}
		})
	}
}

// TestNoAnchor: if the last entry that was sent is not in the journal, or journalctl does not
// answer, all of the journal is read, and nothing comes twice.
func TestNoAnchor(t *testing.T) {
	for name, script := range map[string]string{
		"it hangs":        `[ -n "$cursor" ] && idle; print 1 100; idle`,
		"it was vacuumed": `[ -n "$cursor" ] && { print 90 100; idle; }; print 60 100; idle`,
		"it is another":   `[ -n "$cursor" ] && { entry 50 1800000000000000; idle; }; print 1 100; idle`,
	} {
		t.Run(name, func(t *testing.T) {
			fake(t, `print 1 50; idle`)
			out := new(appendertest.Memory)
			j := run(t, out, Settings{Directory: "x"})
			await(t, out, entries(1, 50))
			j.stop()
			fake(t, script)
			run(t, out, Settings{Directory: "x", AnswerWithin: 50 * time.Millisecond})
			want := entries(1, 100)
			if name == "it was vacuumed" {
				want = append(entries(1, 50), entries(60, 100)...)
			}
			await(t, out, want)
		})
	}
}

// TestDoubt: new entries that seem to be missing are looked for by another run; only if that
// does not find them are they missing.
func TestDoubt(t *testing.T) {
	fake(t, `print 1 10
case $run in 1) new 13 20 ;; 2) new 11 20; new 22 30 ;; *) new 11 20; new 22 40 ;; esac
idle`)
	out := new(appendertest.Memory)
	j := run(t, out, Settings{Directory: "x"})
	await(t, out, append(entries(1, 20), entries(22, 40)...))
	waittest.UntilEqual(t, "the missing entry", 1, func() uint64 { return j.Counts()["journal_missing_entries"] })
	if n := j.Counts()["journal_restarts"]; n != 2 {
		t.Errorf("%d restarts, want 2", n)
	}
}

// TestReused: a journal that was set back to a copy gives numbers again. Its new entries are
// sent, and the old ones are not sent again.
func TestReused(t *testing.T) {
	fake(t, `print 1 50; idle`)
	out := new(appendertest.Memory)
	j := run(t, out, Settings{Directory: "x"})
	await(t, out, entries(1, 50))
	j.stop()
	fake(t, `[ -n "$cursor" ] && idle; print 1 40; new 41 60; idle`)
	j = run(t, out, Settings{Directory: "x", AnswerWithin: 50 * time.Millisecond})
	await(t, out, append(entries(1, 50), entries(41, 60)...))
	if n := j.Counts()["journal_reused_numbers"]; n != 1 {
		t.Errorf("%d times numbers were given again", n)
	}
	j.stop()
	run(t, out, Settings{Directory: "x", AnswerWithin: 50 * time.Millisecond})
}

// TestHangs: a run that prints nothing although there are new entries is replaced; without new
// ones it goes on.
func TestHangs(t *testing.T) {
	fake(t, `[ -n "$probe" ] && { [ -e "$dir/more" ] && print 60 60 || print 50 50; exit 0; }
print 1 50; [ -e "$dir/more" ] && print 51 60; idle`)
	out := new(appendertest.Memory)
	j := run(t, out, Settings{Directory: "x", Quiet: 50 * time.Millisecond, AnswerWithin: 300 * time.Millisecond})
	await(t, out, entries(1, 50))
	time.Sleep(400 * time.Millisecond) // several probes
	if n := j.Counts()["journal_restarts"]; n > 0 {
		t.Errorf("%d restarts of a run that had nothing to print", n)
	}
	dir, _, _ := strings.Cut(os.Getenv("PATH"), string(os.PathListSeparator))
	write(t, filepath.Join(dir, "more"), "")
	await(t, out, entries(1, 60))
}

// TestOutcomes: whatever answers are lost or late, each entry is in the log once.
func TestOutcomes(t *testing.T) {
	fake(t, `print 1 $((run * 100)); [ $run = 6 ] && idle; kill -9 $$`)
	n := 0
	fails := func(outcome error) error {
		if n++; n%3 == 0 {
			return fmt.Errorf("failure %d", n)
		}
		return outcome
	}
	out := &appendertest.Memory{
		Before: func(context.Context, wire.Batch) error { return fails(nil) },
		After:  func(_ context.Context, _ wire.Batch, outcome error) error { return fails(outcome) },
	}
	run(t, out, Settings{Directory: "x"})
	await(t, out, entries(1, 600))
}

// TestStops: a stop does not wait for a child of journalctl that has its output.
func TestStops(t *testing.T) {
	fake(t, `print 1 5; sleep 100 & sleep 100`)
	out := new(appendertest.Memory)
	j := run(t, out, Settings{Directory: "x"})
	await(t, out, entries(1, 5))
	ctx, cancel := context.WithTimeout(t.Context(), waittest.Limit)
	defer cancel()
	stopped := make(chan struct{})
	go func() { j.stop(); close(stopped) }() // ends with the run
	select {
	case <-stopped:
	case <-ctx.Done():
		t.Fatal("it does not stop")
	}
}
