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
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return askFor(ctx, state, method, path, func(answer io.Reader) error {
		b, err := io.ReadAll(io.LimitReader(answer, 64<<20))
		if err != nil {
			return noAnswer(err, filepath.Join(state, controlName), path)
		}
		if into == nil {
			return nil
		}
		return json.Unmarshal(b, into)
	})
}

// askFor is ask for an answer that is read as it comes.
func askFor(ctx context.Context, state, method, path string, read func(io.Reader) error) error {
	socket := filepath.Join(state, controlName)
	client := &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: patience, DialContext: dialSocket(socket)}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, method, "http://collector"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w with the state %s", errNotRunning, state)
	}
	if err != nil {
		return noAnswer(err, socket, path)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return fmt.Errorf("the collector answered: %s", escape.Lines(string(bytes.TrimSpace(b))))
	}
	return read(resp.Body)
}

// dialSocket dials a unix socket, whatever address is asked for.
func dialSocket(socket string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
}

// noAnswer explains why the collector did not answer.
func noAnswer(err error, socket, path string) error {
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
