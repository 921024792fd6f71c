package unixsock

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// TestLongestMessage: a message of which exactly so much came as a line may have is no trouble.
func TestLongestMessage(t *testing.T) {
	for _, n := range []int{maxMessage - 1, maxMessage, maxMessage + 1} {
		m, path, _ := serve(t, Settings{Stream: true, Plain: true})
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		text := strings.Repeat("x", n)
		c.Write([]byte(text)) // errors show below
		send(t, "unix", path, "other\n")
		waittest.Until(t, "another's line", func() bool { return strings.Contains(strings.Join(m.all(), "\n"), "log: other") })
		c.Write([]byte("end\n"))
		joined := ""
		waittest.Until(t, "the line", func() bool {
			all := strings.Replace(strings.Join(m.all(), "\n"), "log: other", "", 1)
			joined = strings.ReplaceAll(strings.Trim(all, "\n"), wire.SplitMark+"\nlog: "+wire.SplitGoesOn, "")
			return strings.HasSuffix(joined, "end")
		})
		if joined != "log: "+text+"end" {
			t.Errorf("a line of %d bytes became %d: %.80q", n, len(joined), joined)
		}
	}
}

// TestHeldMemory: connections that hold back the ends of their lines share one bound; lines beyond
// it are divided, and none is lost.
func TestHeldMemory(t *testing.T) {
	m, path, stop := serve(t, Settings{Stream: true, Plain: true})
	const conns, size = 60, 600_000
	text := strings.Repeat("x", size)
	var all []net.Conn
	for range conns {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all = append(all, c)
		c.Write([]byte(text)) // errors show below
	}
	waittest.Until(t, "lines to be divided", func() bool { return len(m.all()) > 0 })
	for _, c := range all {
		c.Write([]byte("\n"))
		c.Close()
	}
	stop()
	whole, bytes := 0, 0
	for _, line := range m.all() {
		part := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(line, "log: "), wire.SplitGoesOn), wire.SplitMark)
		bytes += len(part)
		if len(part) == size {
			whole++
		}
	}
	if bytes != conns*size || whole < mostHeld/(2*maxMessage) {
		t.Errorf("%d bytes of %d came, and %d lines whole", bytes, conns*size, whole)
	}
}

// late is a context that ends when it was asked once.
type late struct {
	context.Context
	asked bool
}

func (l *late) Err() error {
	if l.asked {
		return context.Canceled
	}
	l.asked = true
	return nil
}

// TestRemovedAtStop: a socket that is made again while a stop comes does not outlive it.
func TestRemovedAtStop(t *testing.T) {
	s, err := Listen(Settings{Path: filepath.Join(t.TempDir(), "log"), Source: "log", Lines: new(memory)})
	if err != nil {
		t.Fatal(err)
	}
	if s.again(&late{Context: t.Context()}) {
		t.Error("it is served on")
	}
	s.closeLocked()
}
