package redis

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/internal/redistest"
	"fanin/internal/waittest"
)

// calm waits until the output has no trouble.
func (h *house) calm() {
	h.t.Helper()
	waittest.Until(h.t, "no trouble", func() bool { return h.out.Trouble() == "" })
}

// TestForeignStream: a stream whose last entry is another program's, or of another log, gets
// nothing, and the trouble says why. Once it is deleted, all lines are there.
func TestForeignStream(t *testing.T) {
	for name, c := range map[string]struct{ id, field, want string }{
		"another program":        {"*", "f", "of another program"},
		"another log":            {"1-1000000", "log", "of log 1234, and this is log "},
		"another log, lower ids": {"1-1", "log", "of log 1234, and this is log "},
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.New(t)
			s.Do("XADD", "fanin", c.id, c.field, "1234")
			h := open(t, t.TempDir(), s)
			h.put(10)
			h.troubled(c.want)
			h.troubled("delete it, and lines go there from the group's position on")
			if n := s.Do("XLEN", "fanin"); n != "1" {
				t.Errorf("the stream has %s entries", n)
			}
			s.Do("DEL", "fanin")
			h.want(h.lines)
			h.calm()
		})
	}
}

// TestForeignWriter: when another program adds to the stream between two of our
// transactions, the output stops before it takes a refused line for one that is there.
func TestForeignWriter(t *testing.T) {
	for name, id := range map[string]string{"by time": "*", "in front of ours": "1-2000"} {
		t.Run(name, func(t *testing.T) {
			s := redistest.New(t)
			h := open(t, t.TempDir(), s)
			h.put(10)
			h.finished()
			s.Do("XADD", "fanin", id, "f", "v")
			h.put(100)
			h.troubled("of another program")
			h.troubled("delete it, and all lines from 1:0 on, with which this output began, are sent again")
			h.stop()
			h.carry()
			h.troubled("of another program")
			if n := s.Do("XLEN", "fanin"); n != "11" {
				t.Errorf("the stream has %s entries", n)
			}
			s.Do("DEL", "fanin")
			h.want(h.lines)
		})
	}
}

// TestLogAnew: a log that was made anew, with the same lines, does not take those of the old
// one for its own.
func TestLogAnew(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		s := redistest.New(t)
		h := open(t, t.TempDir(), s, change)
		h.put(10)
		h.finished()
		h.close()
		h = open(t, t.TempDir(), s, change)
		h.put(10)
		h.troubled("and this is log ")
		h.close()

		// The same, and consumers have taken all that the stream had.
		if h.out.List != "" {
			return
		}
		s.Do("XTRIM", "fanin", "MAXLEN", "0")
		h = open(t, t.TempDir(), s, change)
		h.put(10)
		h.troubled("it is empty and its last id is 1:")
		s.Do("DEL", "fanin")
		h.want(h.lines)
	})
}

// TestOlderLog: a log that was restored from a copy continues with other lines at positions
// that the target has already.
func TestOlderLog(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		s, dir := redistest.New(t), t.TempDir()
		h := open(t, dir, s, change)
		h.put(10)
		h.finished()
		h.close()
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		h = open(t, dir, s, change)
		if _, err := h.sink.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.put(100)
		h.finished()
		h.close()
		h = &house{t: t, dir: copied, server: s}
		h.open()
		h.carry(change)
		h.troubled("is an older copy of itself")
		h.put(200)
		h.stop()
		h.carry(change)
		h.troubled("is an older copy of itself")
	})
}

// TestLogLostItsEnd: a log that lost its end, as after a power cut without syncs, continues in
// another file. The target has lines that the log has not, and gets what is new.
func TestLogLostItsEnd(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		s := redistest.New(t)
		h := open(t, t.TempDir(), s, change)
		h.put(10)
		h.finished()
		h.stop()
		log := h.sink.Status().Log
		if h.out.List == "" {
			s.Do("XADD", "fanin", "1-99999", "log", log, "host", "h", "source", "s", "time", "t", "message", "line that is lost")
		} else {
			s.Do("RPUSH", "fanin", "line that is lost")
			s.Do("SET", "{fanin}:fanin-out", log+" 1-99999 0123456789abcdef")
		}
		if _, err := h.sink.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.lines = append(h.lines, "line that is lost")
		for range 3 {
			h.put(1)
			h.carry(change)
			h.want(h.lines)
			h.stop()
		}
	})
}

// TestConsumers: consumers that remove what they have processed do not disturb the output,
// and a restart neither loses nor doubles a line.
func TestConsumers(t *testing.T) {
	s, dir := redistest.New(t), t.TempDir()
	h := open(t, dir, s)
	var taken []string
	for range 5 {
		h.put(20)
		h.finished()
		taken = append(taken, h.stored()...)
		s.Do("XTRIM", "fanin", "MAXLEN", "0")
		lines := h.lines
		h.close()
		h = open(t, dir, s)
		h.lines = lines
	}
	h.finished()
	if strings.Join(taken, ",") != strings.Join(h.lines, ",") {
		t.Errorf("consumers got %d lines, want %d: %q", len(taken), len(h.lines), taken)
	}
}

// TestBusyConsumers: consumers that remove entries all the time, while lines are added, do not
// hold the output up.
func TestBusyConsumers(t *testing.T) {
	s := redistest.New(t)
	var log bytes.Buffer
	h := open(t, t.TempDir(), s, func(o *Output) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	var taken []string
	done := make(chan struct{})
	go func() { // ends when it has all lines
		defer close(done)
		c, err := s.Client().Dial(context.Background(), "")
		if err != nil {
			return
		}
		defer c.Close()
		for len(taken) < 20_000 {
			v, err := c.Do(context.Background(), "XRANGE", "fanin", "-", "+", "COUNT", "20")
			if err != nil {
				return
			}
			remove := []string{"XDEL", "fanin"}
			for _, e := range v.All() {
				taken = append(taken, e.At(1).Get("message").String())
				remove = append(remove, e.At(0).String())
			}
			if len(remove) > 2 {
				c.Do(context.Background(), remove...)
			}
		}
	}()
	for range 200 {
		h.put(100)
	}
	h.finished()
	<-done
	h.stop()
	if strings.Join(taken, "\n") != strings.Join(h.lines, "\n") {
		t.Errorf("consumers got %d lines, want %d", len(taken), len(h.lines))
	}
	if strings.Contains(log.String(), "level=WARN") {
		t.Errorf("the output was held up:\n%s", log.String())
	}
}

// TestFailures: whatever the server cannot do, the output waits, says what to do, and loses
// and doubles nothing.
func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		settings []string
		fail     func(h *house, s *redistest.Server)
		want     string
		mend     func(s *redistest.Server)
	}{
		"full": {nil, func(_ *house, s *redistest.Server) { s.Do("CONFIG", "SET", "maxmemory", "1") },
			"OOM command not allowed", func(s *redistest.Server) { s.Do("CONFIG", "SET", "maxmemory", "0") }},
		"read-only": {nil, func(_ *house, s *redistest.Server) { s.Do("REPLICAOF", "127.0.0.1", "1") },
			"READONLY", func(s *redistest.Server) { s.Do("REPLICAOF", "NO", "ONE") }},
		"wrong password": {nil, func(_ *house, s *redistest.Server) {
			s.Do("ACL", "SETUSER", "admin", "on", "nopass", "~*", "+@all")
			s.Do("CONFIG", "SET", "requirepass", "secret")
			admin(s, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		}, "NOAUTH", func(s *redistest.Server) { admin(s, "CONFIG", "SET", "requirepass", "") }},
		"forbidden": {nil, func(_ *house, s *redistest.Server) {
			s.Do("ACL", "SETUSER", "admin", "on", "nopass", "~*", "+@all")
			s.Do("ACL", "SETUSER", "default", "-xadd", "-rpush")
		}, "allow this user the command", func(s *redistest.Server) { admin(s, "ACL", "SETUSER", "default", "+@all") }},
		"wrong type": {nil, func(h *house, s *redistest.Server) {
			s.Do("DEL", "fanin")
			s.Do("SET", "fanin", "1")
		}, "WRONGTYPE", func(s *redistest.Server) { s.Do("DEL", "fanin") }},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, change func(*Output)) {
				s := redistest.New(t, c.settings...)
				h := open(t, t.TempDir(), s, change)
				h.put(100)
				h.finished()
				c.fail(h, s)
				for range 3 {
					h.put(100)
				}
				h.troubled(c.want)
				c.mend(s)
				lines := h.lines
				if name == "wrong type" && h.out.List != "" {
					lines = lines[100:] // which its maker deleted: a list may be empty
				}
				h.want(lines)
				h.calm()
			})
		})
	}
}

// admin does a command as the user admin.
func admin(s *redistest.Server, command ...string) {
	ctx, cancel := context.WithTimeout(context.Background(), waittest.Limit)
	defer cancel()
	c, err := s.Client().Dial(ctx, "")
	if err == nil {
		defer c.Close()
		if _, err = c.Do(ctx, "AUTH", "admin", "x"); err == nil {
			_, err = c.Do(ctx, command...)
		}
	}
	if err != nil {
		panic(err)
	}
}

// TestLoading: a server that still reads its data is waited for, and keeps what it has.
func TestLoading(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		s := redistest.New(t)
		h := open(t, t.TempDir(), s, change)
		h.put(100)
		h.finished()
		for i := range 100 {
			s.Do("SET", fmt.Sprint("key", i), strings.Repeat("x", 4000))
		}
		s.Do("SAVE")
		s.Kill()
		s.Set("key-load-delay 20000", "loading-process-events-interval-bytes 1024")
		s.Launch()
		h.put(100)
		h.troubled("LOADING")
		h.calm()
		h.want(h.lines)
		if n := h.out.counts.resent.Load(); n > 0 {
			t.Errorf("%d lines were sent again", n)
		}
	})
}

// TestTroubleStays: as long as lines cannot be added, there is trouble, although the server
// answers, and it is logged once.
func TestTroubleStays(t *testing.T) {
	s := redistest.New(t)
	var log bytes.Buffer
	h := open(t, t.TempDir(), s, func(o *Output) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	h.put(10)
	h.finished()
	s.Do("CONFIG", "SET", "maxmemory", "1")
	h.put(10)
	h.troubled("OOM command not allowed")
	for end := time.Now().Add(3 * lookEvery); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if h.out.Trouble() == "" {
			t.Fatal("there is no trouble, and lines wait")
		}
	}
	s.Do("CONFIG", "SET", "maxmemory", "0")
	h.want(h.lines)
	h.stop()
	if n := strings.Count(log.String(), "lines cannot be carried"); n != 1 {
		t.Errorf("it was logged %d times:\n%s", n, log.String())
	}
}
