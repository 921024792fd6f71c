package collector

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"fanin/internal/zmtp"
)

// TestZMQLoops: an output that an input connects to, or the other way round, is found however
// the host is written; the message names both endpoints.
func TestZMQLoops(t *testing.T) {
	for text, want := range map[string]string{
		"sub = {connect = [\"tcp://127.0.0.1:1\", \"tcp://127.0.0.1:25559\"]}\n[collector.zmq.output]\npub = \"tcp://*:25559\"": "" +
			`the output at "tcp://*:25559" and the input at "tcp://127.0.0.1:25559" meet`,
		"pull = \"tcp://localhost:25557\"\n[collector.zmq.output]\npush = {connect = [\"tcp://127.0.0.1:25557\"]}": "" +
			`the output at "tcp://127.0.0.1:25557" and the input at "tcp://localhost:25557" meet`,
	} {
		_, err := loadText(t, t.TempDir(), "[collector.log]\npath = \"x\"\n[[collector.zmq]]\ninsecure = true\n"+text+"\n")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nreports %v, want %s", text, err, want)
		}
	}
}

// TestMeet: which endpoints lead to which.
func TestMeet(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		bound, connected string
		want             bool
	}{
		{"tcp://*:1", "tcp://127.0.0.1:1", true},
		{"tcp://*:1", "tcp://127.9.9.9:1", true},
		{"tcp://0.0.0.0:1", "tcp://LocalHost:1", true},
		{"tcp://[::]:1", "tcp://[::1]:1", true},
		{"tcp://[::1]:1", "tcp://localhost:1", true},
		{"tcp://127.0.0.1:1", "tcp://0.0.0.0:1", true},
		{"tcp://127.0.0.1:1", "tcp://[::ffff:127.0.0.1]:1", true},
		{"tcp://*:1", "tcp://" + name + ":1", true},
		{"tcp://example.org:1", "tcp://Example.org:1", true},
		{"ipc:///run/x", "ipc:///run//x", true},
		{"tcp://*:1", "tcp://127.0.0.1:2", false},
		{"tcp://*:1", "tcp://192.0.2.1:1", false},
		{"tcp://*:1", "tcp://example.org:1", false},
		{"tcp://127.0.0.1:1", "tcp://127.0.0.2:1", false},
		{"tcp://127.0.0.1:1", "tcp://[::1]:1", false},
		{"tcp://*:*", "tcp://127.0.0.1:1", false},
		{"ipc:///run/x", "ipc:///run/y", false},
		{"ipc:///run/x", "tcp://127.0.0.1:1", false},
	} {
		both := parsed([]string{c.bound, c.connected})
		if got := meet(both[0], both[1]); got != c.want {
			t.Errorf("%s and %s: %v", c.bound, c.connected, got)
		}
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		a := netip.MustParsePrefix(x.String()).Addr()
		if !meet(zmtp.Endpoint{Network: "tcp", Address: "*:1"}, zmtp.Endpoint{Network: "tcp", Address: netip.AddrPortFrom(a, 1).String()}) {
			t.Errorf("%s is not known as an address of this machine", a)
		}
	}
}
