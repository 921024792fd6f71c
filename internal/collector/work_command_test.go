package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink"
	"fanin/sink/distribute"
	"fanin/sink/distribute/protocol"
)

// office is a log with lines, a distributor over it, and a place for commands to write to.
type office struct {
	t    *testing.T
	dir  string
	sink *sink.Sink
	dist *distribute.Distributor
	addr string
}

func newOffice(t *testing.T, lines ...string) *office {
	t.Helper()
	o := &office{t: t, dir: t.TempDir()}
	log := slog.New(slog.DiscardHandler)
	o.sink = &sink.Sink{Path: filepath.Join(o.dir, "all.log"), Log: log, Sync: "none", Retention: sink.RetentionPolicy{Compress: "none"}}
	o.dist = distribute.New(o.sink, distribute.Settings{Log: log, Retry: time.Millisecond, Attempts: 3})
	o.sink.Retention.AwaitConsumers = true
	if err := errors.Join(o.sink.Open(t.Context()), o.dist.Open(t.Context())); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- o.dist.Serve(ln) }() // ends by Shutdown
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := o.dist.Shutdown(ctx); err != nil {
			t.Errorf("shut down: %v", err)
		}
		<-served
		if err := o.sink.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if err := o.sink.Append(t.Context(), wire.Batch{Host: "h", Source: "s", Input: "tcp", Time: 1, Text: []byte(strings.Join(lines, "\n") + "\n")}); err != nil {
		t.Fatal(err)
	}
	return o
}

// work runs a command as a worker until stop is called, or it ends; stop says how. What
// is logged, and what the command writes to its standard error, is in said.
func (o *office) work(l *commandWorker) (stop func() error, said *buffer, ended <-chan struct{}) {
	said = new(buffer)
	l.connect, l.log, l.out, l.errs = o.addr, slog.New(slog.NewTextHandler(said, nil)), io.Discard, said
	l.options = protocol.Hello{Group: "g", From: "start"}
	l.workers, l.batch = 1, 100
	if l.stopTime == 0 {
		l.stopTime = 10 * time.Second
	}
	ctx, cancel := context.WithCancel(context.Background())
	var outcome error
	done := make(chan struct{})
	go func() { outcome = l.run(ctx); close(done) }() // ends by stop, which the test's end calls
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case <-done:
			return outcome
		case <-time.After(20 * time.Second):
			o.t.Error("the worker does not stop")
			return nil
		}
	})
	o.t.Cleanup(func() { stop() })
	return stop, said, done
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (o *office) group() (g distribute.GroupStatus) {
	o.t.Helper()
	all, err := o.dist.Groups(context.Background())
	if err != nil {
		o.t.Fatal(err)
	}
	if len(all) > 0 {
		g = all[0]
	}
	return g
}

func (o *office) until(what string, ok func() bool) {
	o.t.Helper()
	waittest.Until(o.t, what, ok)
}

// settled waits until so many lines are accepted and so many are dead letters.
func (o *office) settled(accepted, dead uint64) {
	o.t.Helper()
	o.until(fmt.Sprintf("%d accepted and %d dead lines", accepted, dead), func() bool {
		g := o.group()
		return g.Accepted == accepted && g.Dead == dead && g.LagLines == 0
	})
}

// file waits for what a command writes into a file.
func (o *office) file(name string) string {
	o.t.Helper()
	var b []byte
	o.until(name, func() bool {
		b, _ = os.ReadFile(filepath.Join(o.dir, name))
		return bytes.HasSuffix(b, []byte("\n"))
	})
	return strings.TrimSpace(string(b))
}

// sh is a shell command. Its script may call hold, which does not end, and await FILE. Both
// end when this process is gone: a command has a process group of its own, so nothing else
// would end it after a test was killed.
func sh(script string) []string {
	test := strconv.Itoa(os.Getpid())
	return []string{"sh", "-c", `hold() { while kill -0 ` + test + ` 2>/dev/null; do sleep .1; done; }
await() { until [ -e "$1" ]; do kill -0 ` + test + ` 2>/dev/null || exit 1; sleep .02; done; }
` + script}
}

const answering = `while read -r l; do case "$l" in *bad*) echo fail no;; *) echo ok;; esac; done`

// TestWorkLines: each answer is its line's, from a shell and from Python.
func TestWorkLines(t *testing.T) {
	for name, argv := range map[string][]string{
		"sh":     sh(answering),
		"python": {"python3", "-c", "import sys\nfor l in sys.stdin: print('FAIL no' if 'bad' in l else 'OK', flush=True)"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, "one", "bad two", "three", "bad four", "five")
			o.work(&commandWorker{argv: argv, lines: true})
			o.settled(3, 2)
			if b, _ := os.ReadFile(o.group().DeadLetters); !bytes.Contains(b, []byte("bad two")) || !bytes.Contains(b, []byte("bad four")) {
				t.Errorf("the dead letters are %s", b)
			}
		})
	}
}

// TestWorkBanner: what a command writes before it received a line is no answer to one.
// The work ends and says so, and all lines are handed back without an attempt counted.
func TestWorkBanner(t *testing.T) {
	for name, c := range map[string]struct{ script, word string }{
		"a greeting":           {"echo ready to serve; " + answering, `wrote "ready to serve" to its standard output before it received a line`},
		"an ok":                {"echo ok; " + answering, `wrote "ok" to its standard output before it received a line`},
		"half a line":          {"printf ready; " + answering, `"ready`},
		"the end":              {"exit 3", "ended before it received a line: exit status 3"},
		"with a child":         {"echo ready; hold & " + answering, `"ready"`},
		"it ignores a SIGTERM": {"trap '' TERM; echo ready; " + answering, `"ready"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, "bad one", "two", "bad three")
			stop, _, ended := o.work(&commandWorker{argv: sh(c.script), lines: true})
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Fatalf("the work goes on: %+v", o.group())
			}
			if err := stop(); err == nil || !strings.Contains(err.Error(), c.word) {
				t.Errorf("the work ended with %v, want %q", err, c.word)
			}
			o.until("all lines to be back", func() bool { g := o.group(); return g.Workers == 0 && g.InFlight == 0 })
			if g := o.group(); g.Accepted+g.Dead != 0 {
				t.Errorf("%+v", g)
			}
			o.work(&commandWorker{argv: sh(answering), lines: true}) // no attempt was counted, none was lost
			o.settled(1, 2)
		})
	}
}

// TestWorkAnswersTwice: a second answer to a line is not taken for the next line's, in
// the middle of a delivery neither. What was answered before counts; the work ends.
func TestWorkAnswersTwice(t *testing.T) {
	o := newOffice(t, "one", "twice", "bad three", "four")
	stop, _, ended := o.work(&commandWorker{lines: true, argv: sh(`while read -r l; do case "$l" in *twice*) printf 'ok\nok\n';; *bad*) echo fail no;; *) echo ok;; esac; done`)})
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatalf("the work goes on: %+v", o.group())
	}
	if err := stop(); err == nil || !strings.Contains(err.Error(), `wrote "ok" to its standard output between two lines`) {
		t.Errorf("the work ended with %v", err)
	}
	o.until("the lines to be back", func() bool { g := o.group(); return g.Workers == 0 && g.InFlight == 0 })
	if g := o.group(); g.Accepted != 2 || g.Dead != 0 {
		t.Errorf("%+v, want two lines accepted", g)
	}
}

// TestWorkUnknownAnswer: an answer that is none fails its line and no other, and ends the
// command; the line is a dead letter in the end, with the answer as its reason.
func TestWorkUnknownAnswer(t *testing.T) {
	for name, answer := range map[string]string{"a word": "echo maybe", "more than ok": "echo ok then", "nothing": "echo", "a long line": "head -c 100000 /dev/zero | tr '\\0' x"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, "one", "odd two", "bad three", "four")
			_, said, _ := o.work(&commandWorker{lines: true,
				argv: sh(`echo $$ >> ` + o.dir + `/pids; while read -r l; do case "$l" in *odd*) ` + answer + `;; *bad*) echo fail no;; *) echo ok;; esac; done`)})
			o.settled(2, 2)
			letters, _ := os.ReadFile(o.group().DeadLetters)
			if !strings.Contains(string(letters), "odd two") || !strings.Contains(string(letters), "bad three") {
				t.Errorf("the dead letters are %s", letters)
			}
			if !strings.Contains(said.String(), "the command failed and is started again") {
				t.Errorf("it was not said: %s", said)
			}
			if n := len(strings.Fields(o.file("pids"))); n < 3 {
				t.Errorf("the command was started %d times, want one for each attempt at least", n)
			}
		})
	}
}

// TestWorkLeftBehind: a child that a command leaves behind, and that holds its output,
// does not hold up the answer.
func TestWorkLeftBehind(t *testing.T) {
	left := func(t *testing.T, o *office) {
		for _, pid := range strings.Fields(o.file("children")) {
			if n, err := strconv.Atoi(pid); err == nil {
				syscall.Kill(n, syscall.SIGKILL)
			}
		}
	}
	t.Run("batch", func(t *testing.T) {
		o := newOffice(t, "one", "two")
		o.work(&commandWorker{argv: sh(`cat > /dev/null; hold & echo $! >> ` + o.dir + `/children`)})
		defer left(t, o)
		o.settled(2, 0)
	})
	t.Run("batch, failed", func(t *testing.T) {
		o := newOffice(t, "one")
		o.work(&commandWorker{argv: sh(`cat > /dev/null; hold & echo $! >> ` + o.dir + `/children; echo no route >&2; exit 1`)})
		defer left(t, o)
		o.settled(0, 1)
		if b, _ := os.ReadFile(o.group().DeadLetters); !bytes.Contains(b, []byte("exit status 1: no route")) {
			t.Errorf("the dead letter is %s", b)
		}
	})
	t.Run("lines", func(t *testing.T) {
		o := newOffice(t, "one", "last two", "three")
		o.work(&commandWorker{lines: true,
			argv: sh(`hold & echo $! >> ` + o.dir + `/children; while read -r l; do case "$l" in *last*) exit 3;; esac; echo ok; done`)})
		defer left(t, o)
		o.settled(2, 1)
		if b, _ := os.ReadFile(o.group().DeadLetters); !bytes.Contains(b, []byte("the command ended: exit status 3")) {
			t.Errorf("the dead letter is %s", b)
		}
	})
}

// TestWorkStops: told to stop, the worker lets its command finish what it has. What it
// does not finish in time is handed back untried, and nothing of it is left.
func TestWorkStops(t *testing.T) {
	for _, lines := range []bool{false, true} {
		mode := map[bool]string{false: "batch", true: "lines"}[lines]
		t.Run(mode+", finished", func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, "one", "two")
			script := `cat > /dev/null; echo x > DIR/begun; await DIR/go`
			if lines {
				script = `while read -r l; do echo x > DIR/begun; await DIR/go; echo ok; done`
			}
			stop, _, _ := o.work(&commandWorker{argv: sh(strings.ReplaceAll(script, "DIR", o.dir)), lines: lines})
			o.file("begun")
			stopped := make(chan error, 1)
			go func() { stopped <- stop() }() // ends when go is there
			select {
			case err := <-stopped:
				t.Errorf("it stopped with work in hand: %v", err)
			case <-time.After(100 * time.Millisecond):
			}
			if err := os.WriteFile(filepath.Join(o.dir, "go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := <-stopped; err != nil {
				t.Error(err)
			}
			o.settled(2, 0)
		})
		t.Run(mode+", given back", func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, "one", "two")
			script := `trap "" TERM; hold & echo $$ > DIR/pid; read -r l; hold`
			stop, _, _ := o.work(&commandWorker{argv: sh(strings.ReplaceAll(script, "DIR", o.dir)), lines: lines, stopTime: 50 * time.Millisecond})
			pid, err := strconv.Atoi(o.file("pid"))
			if err != nil {
				t.Fatal(err)
			}
			o.until("lines in flight", func() bool { return o.group().InFlight == 2 })
			if err := stop(); err != nil {
				t.Error(err)
			}
			o.until("the group to be gone", func() bool { return syscall.Kill(-pid, 0) == syscall.ESRCH })
			o.until("all lines to be back", func() bool { g := o.group(); return g.Workers == 0 && g.InFlight == 0 })
			if g := o.group(); g.Accepted+g.Dead != 0 {
				t.Errorf("%+v", g)
			}
			o.work(&commandWorker{argv: sh(answering), lines: true})
			o.settled(2, 0)
		})
	}
}
