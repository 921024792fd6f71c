package zmq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/internal/counters"
	"fanin/internal/zmtp"
)

// TestShutdownGivenUp: a Shutdown that is given up ends the peers that wait for the log or for
// memory; when it returns, each line that was read is counted, all memory is released, and the
// breaks are reported.
func TestShutdownGivenUp(t *testing.T) {
	h := &held{ingesttest.NewRecorder(), make(chan struct{})}
	var notices []string
	n := &Input{Out: h, Budget: &ingest.Budget{Limit: 1 << 20}, Inputs: new(counters.Set),
		Socket: SocketOptions{Type: zmtp.Pull, Bind: []zmtp.Endpoint{endpoint(t, "tcp://127.0.0.1:0")}},
		Notice: func(format string, args ...any) { notices = append(notices, fmt.Sprintf(format, args...)) },
	}
	if err := n.Listen(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Serve() }() // ends by Shutdown
	s := &setup{Input: n}
	var conns []*zmtp.Conn
	for i := range 2 {
		c := dial(t, s.address(), zmtp.Push)
		for j := range 3 { // one is appended, one waits, one is gathered
			send(t, c, []string{"line"})
			s.counted(t, "fanin_zmq_messages_total", 3*i+j+1)
			time.Sleep(2 * lingerTime)
		}
		conns = append(conns, c)
	}
	go func() { // ends with the connection
		conns[0].Send([]byte(strings.Repeat("x", 900<<10)))
		conns[0].Flush()
	}()
	time.Sleep(50 * time.Millisecond) // the large message comes, or not: both must do
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := n.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	if got := n.lines.Counts(); got.Received < 6 || got.Unsure != got.Received {
		t.Errorf("of 6 lines, or 7, %+v are counted", got)
	}
	if n.Budget.Used() != 0 || n.Budget.Arriving() != 0 {
		t.Errorf("%d bytes of memory are used, %d of them by messages that have begun", n.Budget.Used(), n.Budget.Arriving())
	}
	if all := strings.Join(notices, "\n"); !strings.Contains(all, "BREAK") {
		t.Errorf("no break is reported: %q", all)
	}
	if err := <-ended; !errors.Is(err, ingest.ErrServerClosed) {
		t.Errorf("Serve: %v", err)
	}
}
