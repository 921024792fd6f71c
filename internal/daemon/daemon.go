// Package daemon is what both programs need from the machine they run on: exit codes, their
// own log, the service manager, their version, how much memory and how many processors they use.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"fanin/internal/escape"
	"fanin/internal/machine"
)

// Exit codes, after sysexits.h.
const (
	ExitOK          = 0
	ExitFailure     = 1
	ExitUsage       = 64
	ExitData        = 65
	ExitUnreachable = 69
	ExitLater       = 75
	ExitConfig      = 78
)

// Exit is an error with the code that the program ends with.
type Exit struct {
	Code int
	Err  error
}

// Error implements error.
func (e *Exit) Error() string { return e.Err.Error() }

// Unwrap returns the error itself.
func (e *Exit) Unwrap() error { return e.Err }

// Exitf makes an Exit.
func Exitf(code int, format string, args ...any) error {
	return &Exit{code, fmt.Errorf(format, args...)}
}

// NoArguments returns an Exit if a command that accepts no arguments has some: most often the
// name of a configuration file.
func NoArguments(command string, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return Exitf(ExitUsage, "%s accepts no argument %q: name a configuration with --config FILE\ntry: %s --help",
		command, args[0], command)
}

// Code is the code for the outcome of a program.
func Code(err error) int {
	var e *Exit
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &e):
		return e.Code
	}
	return ExitFailure
}

// PrintError prints the error that ends a program, if it has a text. The text may have
// several lines, and quote what others wrote.
func PrintError(w io.Writer, err error) {
	if err != nil && err.Error() != "" {
		io.WriteString(w, escape.Lines(err.Error())+"\n") // there is nowhere to report it
	}
}

// together is for how long signals count as one: timeout(1) sends each twice, to the process and
// to its group.
const together = 500 * time.Millisecond

// Terminated returns a context that ends at the first SIGTERM or SIGINT; the
// second one ends the process at once.
func Terminated() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	c := make(chan os.Signal, 2)
	signal.Notify(c, syscall.SIGTERM, os.Interrupt)
	go func() { // ends with the process
		<-c
		first := time.Now()
		cancel()
		for <-c; time.Since(first) < together; <-c {
		}
		fmt.Fprintln(os.Stderr, "second signal: stopping at once; acknowledged lines are safe")
		os.Exit(ExitFailure)
	}()
	return ctx
}

// Notify sends states to the service manager, if there is one.
func Notify(states ...string) {
	sd.SdNotify(false, strings.Join(states, "\n")) // it is no error if there is none
}

// Watchdog returns a function that, called often by the goroutine whose life
// matters, keeps the service manager from restarting the process.
func Watchdog() func() {
	every, err := sd.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return func() {}
	}
	var last time.Time // the caller is one goroutine
	return func() {
		if now := time.Now(); now.Sub(last) >= every/3 {
			last = now
			Notify(sd.SdNotifyWatchdog)
		}
	}
}

// LimitMemory sets the garbage collector to keep the process small: below
// limit where that can be, and below the control group's limit, if it has one.
func LimitMemory(limit int64) {
	if n := groupMost(); n > 0 {
		limit = min(limit, n)
	}
	debug.SetMemoryLimit(limit)
}

// groupMost is how much of the control group's limit is used, 0 if it has none.
func groupMost() int64 { return machine.MemoryLimit() / 10 * 9 }

// Logger writes to stderr: with the journal's priorities under systemd, else as
// plain text.
func Logger(level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if os.Getenv("JOURNAL_STREAM") != "" {
		options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{} // the journal has its own
			}
			return a
		}
		return slog.New(slog.NewTextHandler(priority{}, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}
