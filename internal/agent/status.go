package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/internal/tail"
)

const controlName = "control.sock"

// status is what `status --json` prints.
type status struct {
	Version string            `json:"version"`
	ID      string            `json:"id"`
	To      []string          `json:"to"`
	Since   time.Time         `json:"since"`
	Trouble string            `json:"trouble,omitempty"` // why there is no connection
	Files   []tail.FileStatus `json:"files"`
	Sources []sourceStatus    `json:"sources"`
	Counts  map[string]uint64 `json:"counts"`

	Compression *compressionStatus `json:"compression,omitempty"`

	NotFollowed []fileNote `json:"not_followed,omitempty"` // files that a table names, and why not
}

func (a *agent) status() status {
	st := status{Version: daemon.Release, ID: a.settings.Agent.ID, To: a.settings.to.Addrs, Since: a.started,
		Files: a.tailer.Status(), Counts: a.counts(), Compression: a.compression()}
	if a.shipper != nil {
		st.Trouble = a.shipper.Trouble()
	}
	st.Sources = a.sources(st.Files, st.Trouble)
	refused := a.tailer.Unfollowed()
	for _, path := range slices.Sorted(maps.Keys(refused)) {
		if _, err := os.Lstat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
			st.NotFollowed = append(st.NotFollowed, fileNote{path, refused[path]})
		}
	}
	return st
}

// usual are the counts that `status` prints elsewhere, or only as JSON, since they say nothing of
// what happened.
var usual = []string{"lines", "bytes", "read_directories", "watched_directories"}

func (st *status) print(w io.Writer) {
	connection := "connected"
	if st.Trouble != "" {
		connection = "NOT CONNECTED: " + st.Trouble
	}
	escape.Fprintf(w, "%s to %s as %s\n%d lines acknowledged since %s\n", connection, strings.Join(st.To, ","), st.ID,
		st.Counts["lines"]+st.Counts["spool_acknowledged_lines"], st.Since.Format(time.RFC3339))
	st.Compression.print(w)
	for _, name := range slices.Sorted(maps.Keys(st.Counts)) {
		if n := st.Counts[name]; n > 0 && !slices.Contains(usual, name) {
			escape.Fprintf(w, "%s=%d\n", name, n)
		}
	}
	for i, f := range st.Files {
		lag := ""
		if i < len(st.Sources) { // an older agent names none
			lag = st.Sources[i].lag()
		}
		if f.Trouble != "" && !strings.Contains(lag, f.Trouble) {
			lag += " " + f.Trouble
		}
		escape.Fprintf(w, "%s source=%s acked=%d behind=%d%s %s\n", f.Path, f.Source, f.Acked, f.Size-f.Acked, lag,
			f.Warning)
	}
	for i := len(st.Files); i < len(st.Sources); i++ {
		s := &st.Sources[i]
		escape.Fprintf(w, "%s %s source=%s behind=%d%s\n", s.Kind, s.Name, s.Source, s.LagBytes, s.lag())
	}
	for i, n := range st.NotFollowed {
		if i == mostStuck {
			escape.Fprintf(w, "and %d more files are not followed; --json names all\n", len(st.NotFollowed)-i)
			break
		}
		escape.Fprintf(w, "not followed: %s: %s\n", n.Path, n.Reason)
	}
}

// serveStatus sends the status to each connection to the control socket, on a goroutine
// that ends when the listener is closed.
func (a *agent) serveStatus() error {
	path := a.controlPath()
	if old, ok := a.control.(*net.UnixListener); ok {
		old.SetUnlinkOnClose(false) // its name may belong to another socket by now
		old.Close()
	}
	os.Remove(path) // it is ours: we hold the lock
	ln, err := net.Listen("unix", path)
	if err != nil {
		if len(path) > 107 {
			err = fmt.Errorf("%w: the path has %d bytes and sockets allow 107; set a shorter agent.state", err,
				len(path))
		}
		return fmt.Errorf("open the control socket %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		ln.Close()
		return fmt.Errorf("open the control socket: %w", err)
	}
	a.control = ln
	go func() { // ends when ln is closed
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			json.NewEncoder(conn).Encode(a.status())
			conn.Close()
		}
	}()
	return nil
}

// askStatus reads the status that a running agent sends to each connection to its socket.
func askStatus(state string) (st status, err error) {
	conn, err := net.DialTimeout("unix", filepath.Join(state, controlName), 5*time.Second)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return st, daemon.Exitf(daemon.ExitUnreachable,
			"no agent is running with the state %s; to ask the service: --config %s", state, serviceConfig)
	}
	if err != nil {
		return st, noAnswer(err, state)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if err := json.NewDecoder(io.LimitReader(conn, 64<<20)).Decode(&st); err != nil {
		return st, noAnswer(err, state)
	}
	return st, nil
}

// noAnswer explains why the agent did not answer.
func noAnswer(err error, state string) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return daemon.Exitf(daemon.ExitLater,
			"the agent with the state %s did not answer within 5s: it hangs or is stopped; see its log", state)
	case daemon.Ended(err):
		return daemon.Exitf(daemon.ExitUnreachable,
			"the agent with the state %s stopped before it answered: see its log for the reason", state)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("ask the agent: %w: run this as the agent's user, or as root", err)
	}
	return fmt.Errorf("ask the agent for its status: %w", err)
}
