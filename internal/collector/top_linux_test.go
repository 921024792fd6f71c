package collector

import (
	"net"
	"strings"
	"testing"

	"fanin/internal/top"
	"fanin/internal/top/toptest"
	"fanin/internal/waittest"
)

// Top shows the tables of a running collector on a terminal, and what came since.
func TestTop(t *testing.T) {
	c, path := configured(t, "")
	to, err := (&options{config: path}).target()
	if err != nil {
		t.Fatal(err)
	}
	x := toptest.Open(t)
	terminal, err := top.Open(x.Side, x.Side)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- top.Show(t.Context(), terminal, (&topWatch{target: to}).frame) }() // ends by q
	sees := func(want string) {
		t.Helper()
		waittest.Until(t, "the screen shows "+want, func() bool { return strings.Contains(x.Shown(), want) })
	}
	sees("taking lines")
	sees("all.log  0 agents, 0 streams, 0 lines")
	sees("INPUT")
	nc, err := net.Dial("tcp", c.address(t, "tcp"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write([]byte("one\ntwo\n")); err != nil {
		t.Fatal(err)
	}
	sees("2 lines")
	x.Press(t, "q")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A collector that does not answer is said to, and is asked again.
func TestTopWithoutAnswer(t *testing.T) {
	w := &topWatch{target: socketOf(t.TempDir())}
	head, _ := w.frame(t.Context(), top.ByLag)
	if !strings.Contains(strings.Join(head, "\n"), "NO ANSWER: no collector is running with the state ") {
		t.Errorf("the head is %q", head)
	}
}
