package ingest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanin/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keeper is an Appender that remembers, or does what outcome says.
type keeper struct {
	outcome func(ctx context.Context, b wire.Batch) error

	mu      sync.Mutex
	batches []wire.Batch
	text    bytes.Buffer
	changed chan struct{}
}

// errForget makes the keeper say nil and remember nothing.
var errForget = errors.New("forget")

func newKeeper() *keeper { return &keeper{changed: make(chan struct{})} }

func (k *keeper) Append(ctx context.Context, b wire.Batch) error {
	if k.outcome != nil {
		if err := k.outcome(ctx, b); err != nil {
			if err == errForget {
				return nil
			}
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.text.Write(b.Text)
	b.Text, b.Cuts, b.Marks = bytes.Clone(b.Text), slices.Clone(b.Cuts), slices.Clone(b.Marks)
	k.batches = append(k.batches, b)
	close(k.changed)
	k.changed = make(chan struct{})
	return nil
}

// wait returns what was kept as soon as done holds for it.
func (k *keeper) wait(t testing.TB, done func(text string, batches []wire.Batch) bool) (string, []wire.Batch) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		k.mu.Lock()
		text, batches, changed := k.text.String(), k.batches, k.changed
		k.mu.Unlock()
		if done(text, batches) {
			return text, batches
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("not kept in time; there is %d bytes in %d batches: %.200q", len(text), len(batches), text)
		}
	}
}

func (k *keeper) waitText(t testing.TB, want string) []wire.Batch {
	t.Helper()
	_, batches := k.wait(t, func(text string, _ []wire.Batch) bool { return len(text) >= len(want) })
	if got := k.kept(); got != want {
		t.Fatalf("kept %d bytes %.300q, want %d bytes %.300q", len(got), got, len(want), want)
	}
	return batches
}

func (k *keeper) kept() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text.String()
}

// serveTCP serves s on a port of its own until the test ends.
func serveTCP(t testing.TB, s *TCP) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, s, ln)
}

func serveOn(t testing.TB, s *TCP, ln net.Listener) (addr string) {
	t.Helper()
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil && !t.Failed() {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
		if used := s.Budget.Used(); used != 0 {
			t.Errorf("%d bytes of room were not given back", used)
		}
	})
	return ln.Addr().String()
}

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	return nc.(*net.TCPConn)
}
