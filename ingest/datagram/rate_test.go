package datagram_test

import (
	"fanin/ingest/datagram"
	"fanin/ingest/ingesttest"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// What is dropped of datagrams is counted, and said in the log.
func TestMaxRateUDP(t *testing.T) {
	k := ingesttest.NewRecorder()
	var mu sync.Mutex
	var notices []string
	u := &ingesttest.UDP{Listener: datagram.Listener{Out: k, MaxRate: 1000, Notice: func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		notices = append(notices, fmt.Sprintf(format, args...))
	}}}
	to, stop := ingesttest.StartUDP(t, u, "127.0.0.1:0")
	c := ingesttest.DialUDP(t, to)
	const sent = 100
	for range sent {
		c.Write([]byte(strings.Repeat("x", 99)))
	}
	stop()
	kept, dropped := strings.Count(k.Text(), "\n"), u.Dropped(t, "rate")
	if kept+dropped != sent || kept < 10 || kept > 50 {
		t.Errorf("%d kept, %d dropped of %d", kept, dropped, sent)
	}
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(strings.Join(notices, " "), "reason=udp-rate") {
		t.Errorf("notices %q", notices)
	}
}
