package collector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"time"

	"fanin/internal/certs"
	"fanin/internal/daemon"
	"fanin/internal/escape"
)

var errNotRunning = errors.New("no collector is running")

// errEnded: the collector ended while it was asked.
var errEnded = errors.New("the collector stopped before it answered")

// patience is how long a command waits for the collector, which answers within answerTime,
// if only with the reason why it is not done.
const patience = answerTime + 5*time.Second

// ask sends a request to the collector with this state directory; into may be nil.
func ask(ctx context.Context, state, method, path string, into any) error {
	return socketOf(state).ask(ctx, method, path, into)
}

// target is a running collector, and a way to send it requests.
type target struct {
	name   string // as messages show it
	where  string // the same, after "no collector is running"
	base   string // of the URLs
	client *http.Client
	tls    certs.Files
}

// socketOf is the collector with a state directory, over its control socket.
func socketOf(state string) *target {
	socket := filepath.Join(state, controlName)
	return &target{name: socket, where: "with the state " + state, base: "http://collector", client: &http.Client{
		Transport: &http.Transport{ResponseHeaderTimeout: patience, DialContext: dialSocket(socket)}}}
}

// ask sends a request; into may be nil.
func (t *target) ask(ctx context.Context, method, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return t.askFor(ctx, method, path, func(answer io.Reader) error {
		b, err := io.ReadAll(io.LimitReader(answer, 64<<20))
		if err != nil {
			return t.noAnswer(err, path)
		}
		if into == nil {
			return nil
		}
		return json.Unmarshal(b, into)
	})
}

// askFor is ask for an answer that is read as it comes.
func (t *target) askFor(ctx context.Context, method, path string, read func(io.Reader) error) error {
	defer t.client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, method, t.base+path, nil)
	if err != nil {
		return err
	}
	resp, err := t.client.Do(r)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w %s", errNotRunning, t.where)
	}
	if err != nil {
		return t.noAnswer(t.tls.ExplainClient(err), path)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return &answerError{resp.StatusCode, escape.Lines(string(bytes.TrimSpace(b)))}
	}
	return read(resp.Body)
}

// unreachable explains why a collector cannot be reached.
func (t *target) unreachable(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return daemon.Exitf(daemon.ExitUnreachable, "%w %s", errNotRunning, t.where)
	}
	return daemon.Exitf(daemon.ExitUnreachable, "%w", t.tls.ExplainClient(err))
}

// answerError is the error of a collector that does not do what it is asked.
type answerError struct {
	code int // of the answer, as HTTP has it
	text string
}

func (e *answerError) Error() string { return "the collector answered: " + e.text }

// dialSocket dials a unix socket, whatever address is asked for.
func dialSocket(socket string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
}

// noAnswer explains why the collector did not answer.
func (t *target) noAnswer(err error, path string) error {
	socket := t.name
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return daemon.Exitf(daemon.ExitLater,
			"the collector did not answer %s on %s in time: the process hangs or is stopped; see its log", path, socket)
	case daemon.Ended(err):
		return daemon.Exitf(daemon.ExitUnreachable, "%w %s on %s: see its log for the reason", errEnded, path, socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("ask the collector: %w: run this as the collector's user, or as root", err)
	}
	return fmt.Errorf("ask the collector for %s: %w", path, err)
}
