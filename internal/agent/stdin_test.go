package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fanin/internal/certs"
	"fanin/internal/certs/certstest"
	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/freeport"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// piped loads the settings of `fanin-agent --to ADDR -`.
func piped(t *testing.T, addr, state string) *settings {
	t.Helper()
	s, err := (&options{to: addr, id: "a", state: state, wait: -1}).load([]string{"-"})
	if err != nil {
		t.Fatal(err)
	}
	if !s.onlyStdin() {
		t.Fatalf("files are followed: %+v", s.Agent.File)
	}
	return s
}

// pipe is one run; it must end by itself.
func pipe(t *testing.T, s *settings, in io.Reader) error {
	t.Helper()
	j, err := newStdinJob(s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	outcome := make(chan error, 1)
	go func() { outcome <- j.run(t.Context(), in) }() // waited for below
	select {
	case err := <-outcome:
		return err
	case <-time.After(waittest.Limit):
		t.Fatal("a run hangs")
		return nil
	}
}

// gaveUp checks that a run left its lines to the next one.
func gaveUp(t *testing.T, err error, words ...string) {
	t.Helper()
	if daemon.Code(err) != daemon.ExitLater {
		t.Fatalf("%v, want exit %d", err, daemon.ExitLater)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not mention %q", err, w)
		}
	}
}

// runs lists the directories of runs.
func runs(t *testing.T, state string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(state, "runs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// nowhere is an address at which nothing listens.
func nowhere(t *testing.T) string {
	t.Helper()
	port, err := freeport.One()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", port)
}

func soon(s *settings, d time.Duration) *settings {
	s.Agent.Stdin.Wait = (*config.Duration)(&d)
	return s
}

// TestPollable: a read of a pipe can be given up, the pipe's own descriptor still blocks, and a file is left alone.
func TestPollable(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	r.Fd() // from now on it blocks, as standard input does
	p := pollable(r)
	defer p.Close()
	p.SetReadDeadline(time.Now())
	if n, err := p.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if flags, err := unix.FcntlInt(r.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("the pipe's own descriptor has flags %#x, %v", flags, err)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if pollable(f) != f {
		t.Error("a file is opened again")
	}
}

// A run ends when all of its input is committed, a last line without a newline too, and
// leaves nothing behind.
func TestStdin(t *testing.T) {
	m, addr := collect(t)
	state := t.TempDir()
	for _, in := range []string{"one\ntwo\n", "", "three", "\n", "four\n\nfive"} {
		if err := pipe(t, piped(t, addr, state), strings.NewReader(in)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := texts(m), "one\ntwo\nthree\n\nfour\n\nfive\n"; got != want {
		t.Errorf("committed %q, want %q", got, want)
	}
	for _, b := range m.Kept() { // the session owns its streams
		if !strings.HasPrefix(b.Agent, "a/") || b.Host == "" {
			t.Errorf("a batch of %q, host %q", b.Agent, b.Host)
		}
	}
	if left := runs(t, state); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// An empty input is acknowledged without a collector.
func TestStdinEmpty(t *testing.T) {
	state := t.TempDir()
	if err := pipe(t, piped(t, nowhere(t), state), strings.NewReader("")); err != nil {
		t.Fatal(err)
	}
	if left := runs(t, state); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What a run cannot send, the next one does, whatever its own input is.
func TestStdinLater(t *testing.T) {
	state := t.TempDir()
	away := nowhere(t)
	first := soon(piped(t, away, state), time.Millisecond)
	first.Agent.Stdin.Source = "first"
	gaveUp(t, pipe(t, first, strings.NewReader("one\ntwo")), "refused", "next run", state)
	gaveUp(t, pipe(t, soon(piped(t, away, state), 0), strings.NewReader("three\n")), "directories of other runs beside it: 1")
	m, addr := collect(t)
	if err := pipe(t, piped(t, addr, state), strings.NewReader("")); err != nil {
		t.Fatal(err)
	}
	if got := texts(m); got != "one\ntwo\nthree\n" {
		t.Errorf("committed %q", got)
	}
	for _, b := range m.Kept() {
		if string(b.Text) == "one\ntwo\n" && (len(b.Marks) == 0 || b.Marks[0].Labels.Source != "first") {
			t.Errorf("the lines of the first run have the marks %+v, want its source", b.Marks)
		}
	}
	if left := runs(t, state); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A run waits for as long as there is progress, and no longer.
func TestStdinWaits(t *testing.T) {
	m, addr := collect(t)
	state := t.TempDir()
	stuck := make(chan struct{})
	m.Before = func(ctx context.Context, b wire.Batch) error {
		if b.Op != wire.OpData {
			return nil
		}
		select {
		case <-stuck:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	gaveUp(t, pipe(t, soon(piped(t, addr, state), 50*time.Millisecond), strings.NewReader("one\n")), "nothing more for 50ms")
	close(stuck)
	if err := pipe(t, piped(t, addr, state), strings.NewReader("two\n")); err != nil {
		t.Fatal(err)
	}
	if got := texts(m); got != "one\ntwo\n" && got != "two\none\n" {
		t.Errorf("committed %q", got)
	}
}

// Any number of runs work at the same time with one state and id, beside the agent itself.
func TestStdinTwenty(t *testing.T) {
	m, addr := collect(t)
	state := t.TempDir()
	path := write(t, filepath.Join(t.TempDir(), "a.log"), "of the file\n")
	s, err := (&options{to: addr, id: "a", state: state, wait: -1}).load([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	following, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(following, s, nil) }() // ended by stop
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	const n, lines = 20, 500
	var all sync.WaitGroup
	for i := range n {
		in, out := io.Pipe()
		j, err := newStdinJob(piped(t, addr, state), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			if err := j.run(t.Context(), in); err != nil {
				t.Errorf("run %d: %v", i, err)
			}
		})
		all.Go(func() {
			for line := range lines {
				fmt.Fprintf(out, "run %d line %d\n", i, line)
			}
			out.Close()
		})
	}
	all.Wait()
	waittest.Until(t, "the file's line", func() bool { return strings.Contains(texts(m), "of the file\n") })
	next := make(map[int]int)
	for line := range strings.Lines(texts(m)) {
		var i, at int
		if _, err := fmt.Sscanf(line, "run %d line %d\n", &i, &at); err != nil {
			continue
		}
		if next[i] != at {
			t.Fatalf("line %d of run %d where line %d belongs", at, i, next[i])
		}
		next[i]++
	}
	for i := range n {
		if next[i] != lines {
			t.Errorf("run %d has %d lines, want %d", i, next[i], lines)
		}
	}
	if left := runs(t, state); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// At a signal the input is given up when it is silent; what was read is committed.
func TestStdinSignal(t *testing.T) {
	m, addr := collect(t)
	in, out := io.Pipe()
	defer out.Close()
	j, err := newStdinJob(piped(t, addr, t.TempDir()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, signal := context.WithCancel(t.Context())
	outcome := make(chan error, 1)
	go func() { outcome <- j.run(ctx, in) }() // waited for below
	io.WriteString(out, "one\n")
	waittest.UntilEqual(t, "what is committed", "one\n", func() string { return texts(m) })
	context.AfterFunc(ctx, func() { io.WriteString(out, "last words") }) // at once, as silence is bounded
	signal()
	if err := <-outcome; err != nil {
		t.Fatal(err)
	}
	if got := texts(m); got != "one\nlast words\n" {
		t.Errorf("committed %q", got)
	}
}

// A program that goes on writing after the signal does not keep the run, and nothing that was
// read of it is lost.
func TestStdinSignalGoesOn(t *testing.T) {
	m, addr := collect(t)
	s := piped(t, addr, t.TempDir())
	s.Agent.Stop = config.Duration(50 * time.Millisecond)
	in, out := io.Pipe()
	j, err := newStdinJob(s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, signal := context.WithCancel(t.Context())
	outcome := make(chan error, 1)
	go func() { outcome <- j.run(ctx, in) }() // waited for below
	written := make(chan int, 1)
	go func() { // ends with the pipe
		n := 0
		for ; ; n++ {
			if n == 10_000 {
				signal()
			}
			if _, err := fmt.Fprintf(out, "line %d\n", n); err != nil {
				written <- n
				return
			}
		}
	}()
	if err := <-outcome; err != nil { // all may be acknowledged by then, or not
		gaveUp(t, err, "it was stopped")
	}
	in.Close()
	n := <-written
	if err := pipe(t, piped(t, addr, s.Agent.State), strings.NewReader("")); err != nil {
		t.Fatal(err)
	}
	got := 0
	for line := range strings.Lines(texts(m)) {
		if want := fmt.Sprintf("line %d\n", got); line != want {
			t.Fatalf("%q, want %q", line, want)
		}
		got++
	}
	if got < n-2 { // two reads may be on their way
		t.Errorf("%d lines of %d", got, n)
	}
}

// An agent that runs sends what runs left, but nothing of one that lives.
func TestRunsAreAdopted(t *testing.T) {
	state := t.TempDir()
	gaveUp(t, pipe(t, soon(piped(t, nowhere(t), state), 0), strings.NewReader("left\n")))
	m, addr := collect(t)
	lives, err := newRun(piped(t, addr, state), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := lives.spool.Append(t.Context(), []byte("of one that lives\n"), ""); err != nil {
		t.Fatal(err)
	}
	if err := lives.spool.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	x := newAdopter(piped(t, addr, state), slog.New(slog.DiscardHandler))
	if !x.pass(t.Context()) {
		t.Error("something is left")
	}
	if got := texts(m); got != "left\n" {
		t.Errorf("committed %q", got)
	}
	if left := runs(t, state); len(left) != 1 || left[0] != lives.dir {
		t.Errorf("the directories are %v, want %s", left, lives.dir)
	}
	lives.lock.Close() // it is killed
	if !x.pass(t.Context()) || texts(m) != "left\nof one that lives\n" {
		t.Errorf("committed %q", texts(m))
	}
}

// A run of another id is not this agent's to send: it is reported and stays.
func TestRunOfAnotherAgent(t *testing.T) {
	state := t.TempDir()
	gaveUp(t, pipe(t, soon(piped(t, nowhere(t), state), 0), strings.NewReader("of a\n")))
	m, addr := collect(t)
	s := piped(t, addr, state)
	s.Agent.ID = "b"
	if err := pipe(t, s, strings.NewReader("of b\n")); err != nil {
		t.Fatal(err)
	}
	if got := texts(m); got != "of b\n" || len(runs(t, state)) != 1 {
		t.Errorf("committed %q, left %v", got, runs(t, state))
	}
}

// Runs that begin while others tidy up never lose their directory.
func TestRunsBeginAndEnd(t *testing.T) {
	state := t.TempDir()
	s := piped(t, nowhere(t), state)
	log := slog.New(slog.DiscardHandler)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				r, err := newRun(s, log)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stat(r.dir); err != nil || !r.lock.InPlace() {
					t.Errorf("a run has lost its directory: %v", err)
				}
				r.spool.Close(t.Context())
				r.lock.Close() // it is killed
				newAdopter(s, log).pass(t.Context())
			}
		})
	}
	all.Wait()
	newAdopter(s, log).pass(t.Context())
	if left := runs(t, state); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestStdinSettings(t *testing.T) {
	for to, want := range map[string]string{"udp://127.0.0.1:1": "udp acknowledges nothing", "127.0.0.1:1": ""} {
		_, err := (&options{to: to, id: "a", state: t.TempDir(), wait: -1}).load([]string{"-"})
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", to, err)
		}
	}
	path := write(t, filepath.Join(t.TempDir(), "a.toml"), "[agent]\nto = [\"127.0.0.1:1\"]\nstate = \"s\"\n[agent.stdin]\nsource = \"app\"\nwait = \"2s\"\n[[agent.file]]\npaths = [\"/x.log\"]\n")
	s, err := (&options{config: path, wait: -1}).load(nil)
	if err != nil || s.Agent.Stdin.source() != "app" || s.Agent.Stdin.wait() != 2*time.Second || s.onlyStdin() {
		t.Errorf("%v, %+v", err, s)
	}
	s, err = (&options{config: path, source: "other", wait: time.Minute}).load([]string{"-"})
	if err != nil || s.Agent.Stdin.source() != "other" || s.Agent.Stdin.wait() != time.Minute || !s.onlyStdin() || s.Agent.LogLevel != "warn" {
		t.Errorf("%v, %+v", err, s)
	}
}

// A run shows the agent's own certificate, and is accepted beside it.
func TestStdinWithCertificate(t *testing.T) {
	ours := certstest.New(t)
	ca, cert, key := ours.Files(t.TempDir(), ours.Sign("collector"))
	config, err := certs.Files{Cert: cert, Key: key, CA: ca}.Server()
	if err != nil {
		t.Fatal(err)
	}
	m, addr := collectTLS(t, config, nil)
	_, cert, key = ours.Files(t.TempDir(), ours.Sign("a"))
	state := t.TempDir()
	text := fmt.Sprintf("[agent]\nid = \"a\"\nstate = %q\nto = [\"tls://%s\"]\ntls = {ca = %q, cert = %q, key = %q}\n[[agent.file]]\npaths = [\"/x.log\"]\n",
		state, addr, ca, cert, key)
	path := write(t, filepath.Join(t.TempDir(), "a.toml"), text)
	for _, line := range []string{"one\n", "two\n"} {
		s, err := (&options{config: path, wait: -1}).load([]string{"-"})
		if err != nil {
			t.Fatal(err)
		}
		if err := pipe(t, s, strings.NewReader(line)); err != nil {
			t.Fatal(err)
		}
	}
	if got := texts(m); got != "one\ntwo\n" {
		t.Errorf("committed %q", got)
	}
}
