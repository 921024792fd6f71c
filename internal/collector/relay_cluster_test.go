package collector

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/freeport"
	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/sink/relay"
)

// A collector forwards its log into a cluster: each line once, in order, while partitions move and a member
// stops and comes back.
func TestRelayIntoCluster(t *testing.T) {
	s, dir := natstest.New(t), t.TempDir()
	place := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o750); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a := startTestMember(t, s, place("a"))
	shared(t, a, 4)
	b := startTestMember(t, s, place("b"))
	shared(t, a, 2, 2)
	port, err := freeport.One()
	if err != nil {
		t.Fatal(err)
	}
	edge := &testMember{config: filepath.Join(place("edge"), "collector.toml"), state: filepath.Join(dir, "edge", "state"), done: make(chan error, 1)}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	edge.start(t, fmt.Sprintf("[collector]\nstate = %q\n[collector.log]\npath = %q\nsync = \"none\"\n[[collector.tcp]]\nlisten = %q\n"+
		"[collector.relay]\nto = [%q]\nid = \"edge-1\"\nhost = \"edge-1\"\n[collector.relay.nats]\nstream = \"LOGS\"\n",
		edge.state, filepath.Join(dir, "edge", "all.log"), address, s.ClientURL()))
	var nc net.Conn
	waittest.Until(t, "the edge collector", func() bool {
		nc, err = net.Dial("tcp", address)
		return err == nil
	})
	defer nc.Close()
	l := newLedger(t, a.workAddress(t), "mail", 1)
	n := 0
	send := func(count int) {
		var text strings.Builder
		for range count {
			n++
			fmt.Fprintf(&text, "line s0 %d\n", n)
		}
		if _, err := nc.Write([]byte(text.String())); err != nil {
			t.Fatal(err)
		}
	}
	send(200)
	waittest.UntilEqual(t, "the relayed lines", n, l.had)
	for i := range 6 {
		send(100)
		for p := range testPartitions {
			a.ask(t, "POST", fmt.Sprintf("/cluster/move?partition=%d&to=%s", p, []*testMember{a, b}[(p+i)%2].id(t)), nil)
		}
		send(100)
	}
	waittest.UntilEqual(t, "the relayed lines of moved partitions", n, l.had)
	b.end(t)
	send(200)
	startTestMember(t, s, filepath.Join(dir, "b"))
	send(200)
	waittest.UntilEqual(t, "the relayed lines when a member was away", n, l.had)
	l.check(t)
	var r relay.Report
	edge.ask(t, "GET", "/upstream", &r)
	if !r.OK() || r.Unrelayed+r.Doubted > 0 {
		t.Errorf("verify --upstream says %+v", r)
	}
}
