package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// child is set where this test binary is a program that waits to be terminated.
const child = "FANIN_TEST_TERMINATED"

func TestMain(m *testing.M) {
	if os.Getenv(child) != "" {
		ctx := Terminated()
		io.WriteString(os.Stdout, "ready\n")
		<-ctx.Done()
		io.WriteString(os.Stdout, "draining\n")
		time.Sleep(together + 100*time.Millisecond)
		io.WriteString(os.Stdout, "hanging\n")
		time.Sleep(time.Hour) // it hangs: only a second signal ends it
	}
	os.Exit(m.Run())
}

// TestTerminated: the first signal ends the context, and the second one the process, unless it
// comes with the first one.
func TestTerminated(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), child+"=1")
		var errs bytes.Buffer
		c.Stderr = &errs
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		next := func(want string) {
			b := make([]byte, len(want))
			if _, err := io.ReadFull(out, b); err != nil || string(b) != want {
				t.Errorf("%v: it printed %q, %v; want %q", sig, b, err, want)
			}
		}
		next("ready\n")
		c.Process.Signal(sig)
		next("draining\n")
		c.Process.Signal(sig)
		next("hanging\n")
		c.Process.Signal(sig)
		if err := c.Wait(); c.ProcessState.ExitCode() != ExitFailure || !strings.Contains(errs.String(), "second signal") {
			t.Errorf("%v: it ended with %v and %q", sig, err, errs.String())
		}
	}
}

func TestCode(t *testing.T) {
	for want, err := range map[int]error{
		ExitOK: nil, ExitFailure: errors.New("x"), ExitUsage: Exitf(ExitUsage, "x"), ExitLater: fmt.Errorf("y: %w", Exitf(ExitLater, "x")),
		ExitConfig: errors.Join(errors.New("z"), &Exit{ExitConfig, io.EOF}),
	} {
		if got := Code(err); got != want {
			t.Errorf("the code of %v is %d, want %d", err, got, want)
		}
	}
	if err := Exitf(ExitLater, "read: %w", io.EOF); !errors.Is(err, io.EOF) || err.Error() != "read: EOF" {
		t.Errorf("the exit wraps %v", err)
	}
}

func TestNoArguments(t *testing.T) {
	if err := NoArguments("fanin-agent status", nil); err != nil {
		t.Error(err)
	}
	err := NoArguments("fanin-agent status", []string{"agent.toml"})
	if Code(err) != ExitUsage || !strings.Contains(err.Error(), "--config FILE") || !strings.Contains(err.Error(), "try: fanin-agent status --help") {
		t.Errorf("%v", err)
	}
}

// TestPrintError: an error keeps its lines, and nothing in it reaches a terminal as it is.
func TestPrintError(t *testing.T) {
	for text, want := range map[string]string{"": "", "a\nb": "a\nb\n", "a\x1b[2J": "a#033[2J\n"} {
		var out bytes.Buffer
		PrintError(&out, errors.New(text))
		if out.String() != want {
			t.Errorf("%q prints %q, want %q", text, out.String(), want)
		}
	}
	PrintError(nil, nil) // prints nothing
}

// notified listens as the service manager does.
func notified(t *testing.T) *net.UnixConn {
	t.Helper()
	addr := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	c, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", addr.Name)
	return c
}

func message(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	b := make([]byte, 1000)
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(b) // what was sent is there at once
	if err != nil {
		return ""
	}
	return string(b[:n])
}

func TestNotify(t *testing.T) {
	Notify("READY=1") // without a service manager: nothing
	c := notified(t)
	Notify("READY=1", "STATUS=receiving lines")
	if got := message(t, c); got != "READY=1\nSTATUS=receiving lines" {
		t.Errorf("the service manager got %q", got)
	}
}

// TestWatchdog: it is fed three times in its time, however often it is called.
func TestWatchdog(t *testing.T) {
	Watchdog()() // without a service manager: nothing
	c := notified(t)
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("WATCHDOG_USEC", "30000000")
	feed := Watchdog()
	sent := 0
	synctest.Test(t, func(t *testing.T) {
		for range 60 {
			feed()
			time.Sleep(time.Second)
		}
	})
	for message(t, c) == "WATCHDOG=1" {
		sent++
	}
	if sent != 6 {
		t.Errorf("it was fed %d times in a minute, want 6", sent)
	}
}
