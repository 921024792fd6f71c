package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"fanin/internal/natsconn"
	"fanin/internal/natstest"
	"fanin/internal/redistest"
	"fanin/internal/ship"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/zmtp"
)

// agentLines sends three lines of a stream, the same again, and some that do not follow.
func agentLines(t *testing.T, out wire.Appender, lossy bool) {
	t.Helper()
	id, text := wire.NewStreamID(), []byte("one\ntwo\nthree\n")
	open := wire.Batch{Op: wire.OpOpen, Stream: id, Epoch: 1, Source: "app"}
	data := wire.Batch{Stream: id, Epoch: 1, End: int64(len(text)), After: wire.TailHash(text), Time: 1, Source: "app", Text: text}
	elsewhere := data
	elsewhere.Offset, elsewhere.End, elsewhere.Before = 1<<20, 1<<20+int64(len(text)), 7
	for i, b := range []wire.Batch{open, data, data, elsewhere} {
		if lossy && i == 0 {
			continue // a datagram names its stream
		}
		var expected *wire.Expected
		if err := out.Append(t.Context(), b); err != nil && !errors.As(err, &expected) {
			t.Fatalf("batch %d: %v", i, err)
		}
	}
}

// whileRunning runs a shipper for as long as f takes.
func whileRunning(t *testing.T, run func(context.Context) error, f func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }() // ends by stop
	f()
	stop()
	<-ended
}

// hello is an agent's.
func hello(id string) wire.Hello {
	return wire.Hello{Agent: id, Instance: wire.NewStreamID(), Run: 1, Host: id}
}

// sendUnix sends a message to each unix socket.
func (c *server) sendUnix(t *testing.T) {
	t.Helper()
	for _, x := range c.listeners.serving() {
		if x.kind != "unix" {
			continue
		}
		network := "unixgram"
		if strings.HasSuffix(x.address, "stream") {
			network = "unix"
		}
		nc, err := net.Dial(network, x.address)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.WriteString(nc, "<13>Oct 11 22:14:15 app[1]: over "+network+"\n"); err != nil {
			t.Fatal(err)
		}
	}
}

// senders send lines over each kind of input, in every form that it has: some new ones,
// and where the form has repeats, some that are repeated, and some that are rejected.
func senders(url string, rs *redistest.Server) map[string]func(t *testing.T, c *server) {
	return map[string]func(t *testing.T, c *server){
		"tcp": func(t *testing.T, c *server) {
			c.send(t, "plain")
			x := &ship.TCP{Addrs: []string{c.address(t, "tcp")}, Hello: hello("a")}
			whileRunning(t, x.Run, func() { agentLines(t, x, false) })
		},
		"udp": func(t *testing.T, c *server) {
			nc, err := net.Dial("udp", c.address(t, "udp"))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if _, err := io.WriteString(nc, "plain\nand another\n"); err != nil {
				t.Fatal(err)
			}
			agentLines(t, &ship.UDP{Addr: c.address(t, "udp"), Agent: "b", Host: "b"}, true)
		},
		"unix": func(t *testing.T, c *server) {
			c.sendUnix(t)
			waittest.Until(t, "both messages", func() bool { return c.inputs.Of("unix").Counts().Received == 2 })
		},
		"nats": func(t *testing.T, c *server) {
			nc, err := nats.Connect(url)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if err := nc.Publish("logs.app", []byte("plain\n")); err != nil {
				t.Fatal(err)
			}
			x := &ship.NATS{Login: natsconn.Login{URL: url}, Hello: hello("c")}
			whileRunning(t, x.Run, func() { agentLines(t, x, false) })
			waittest.Until(t, "the message", func() bool { return c.inputs.Of("nats").Counts().Received > 0 })
		},
		"redis": func(t *testing.T, c *server) {
			waittest.UntilEqual(t, "subscribers", "1", func() string { return rs.Do("PUBLISH", "logs.app", "plain\nand another\n") })
			rs.Do("XADD", "entries", "*", "message", "plain\nand another\n")
			rs.Do("RPUSH", "queue", "plain", "and another", "")
			for _, input := range []string{"redis", "redis-stream", "redis-list"} {
				waittest.Until(t, "lines of "+input, func() bool { return c.inputs.Of(input).Counts().Received > 0 })
			}
		},
		"relp": func(t *testing.T, c *server) {
			open, messages := "1 open 30 relp_version=0\ncommands=syslog\n", "2 syslog 3 one\n3 syslog 3 two\n"
			for i, want := range []uint64{2, 4} { // a break, and the same again
				nc, err := net.Dial("tcp", c.address(t, "relp"))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(nc, open+messages); err != nil {
					t.Fatal(err)
				}
				waittest.UntilEqual(t, fmt.Sprint("messages of session ", i), want, func() uint64 { return c.inputs.Of("relp").Counts().Received })
				nc.Close()
			}
		},
		"zmq": func(t *testing.T, c *server) {
			addresses := strings.Split(c.address(t, "zmq"), ", ") // pull tcp://..., sub tcp://...
			for i, kind := range []zmtp.SocketType{zmtp.Push, zmtp.Pub} {
				_, address, _ := strings.Cut(addresses[i], "tcp://")
				nc, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				peer, err := zmtp.Handshake(t.Context(), nc, &zmtp.Options{Type: kind})
				if err != nil {
					t.Fatal(err)
				}
				defer peer.Close()
				if err := errors.Join(peer.Send([]byte("topic"), []byte("plain\n")), peer.Flush()); err != nil {
					t.Fatal(err)
				}
			}
			waittest.Until(t, "both messages", func() bool { return c.inputs.Of("zmq").Counts().Received == 3 })
		},
		"gelf": func(t *testing.T, c *server) {
			for _, network := range []string{"udp", "tcp"} {
				nc, err := net.Dial(network, c.address(t, "gelf"))
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				if _, err := io.WriteString(nc, "{\"short_message\":\"one\\ntwo\"}\x00"); err != nil {
					t.Fatal(err)
				}
				if network == "udp" {
					_, err = io.WriteString(nc, "\x78\x9c not zlib")
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			waittest.Until(t, "the messages", func() bool { return c.inputs.Of("gelf").Counts().Received == 3 })
		},
	}
}

// TestInputsConserve: for every input that the program has, each line received is
// written, a duplicate, rejected, unsure or dropped, and counted as that once. An input
// without a sender here fails the test.
func TestInputsConserve(t *testing.T) {
	url := natstest.New(t).ClientURL()
	rs := redistest.New(t)
	c, _ := configured(t, fmt.Sprintf("[[collector.udp]]\nlisten = \"127.0.0.1:0\"\n[[collector.nats]]\nurl = %q\nsubjects = [\"logs.>\"]\n"+
		"[[collector.redis]]\nurl = %q\nchannels = [\"logs.*\"]\nstreams = [\"entries\"]\nlists = [\"queue\"]\n"+
		"[[collector.relp]]\nlisten = \"127.0.0.1:0\"\n"+
		"[[collector.zmq]]\npull = \"tcp://127.0.0.1:0\"\nsub = {bind = [\"tcp://127.0.0.1:0\"]}\n[[collector.gelf]]\nlisten = \"127.0.0.1:0\"\nnetwork = \"both\"\n"+
		"[[collector.unix]]\npath = %q\n[[collector.unix]]\npath = %q\ntype = \"stream\"\n", url, rs.URL(), t.TempDir()+"/log", t.TempDir()+"/stream"))
	all := senders(url, rs)
	for _, k := range inputKinds() {
		send := all[k.name]
		if send == nil {
			t.Errorf("no lines are sent over %s: add a sender to this test", k.name)
			continue
		}
		send(t, c)
	}
	for _, x := range c.inputs.All() {
		if x.Name() == "fanin" { // the log's own lines
			continue
		}
		waittest.UntilEqual(t, "lines of "+x.Name()+" without an outcome", 0, func() int64 { n := x.Counts(); return n.InFlight() })
		if n := x.Counts(); n.Received == 0 || n.Written == 0 || n.Written > n.Received {
			t.Errorf("%s received %d lines and %d were written", x.Name(), n.Received, n.Written)
		}
	}
	for _, row := range []struct {
		name                         string
		received, written, duplicate uint64
	}{{"tcp", 1, 1, 0}, {"agent", 9, 3, 3}, {"udp", 2, 2, 0}, {"unix", 2, 2, 0}, {"nats", 1, 1, 0}, {"redis", 2, 2, 0}, {"redis-stream", 2, 2, 0}, {"redis-list", 2, 2, 0},
		{"zmq", 3, 3, 0}, {"relp", 4, 2, 2}, {"nats-agent", 9, 3, 3}, {"gelf", 3, 2, 0}} {
		if n := c.inputs.Of(row.name).Counts(); n.Received != row.received || n.Written != row.written || n.Duplicate != row.duplicate {
			t.Errorf("%s: %+v; want %+v", row.name, n, row)
		}
	}
	st, err := c.status(t.Context())
	if err != nil || len(st.Inputs) != 14 {
		t.Fatalf("the status has %d inputs, %v", len(st.Inputs), err)
	}
	for _, x := range st.Inputs {
		if want := map[string]string{"agent": "A sequence", "nats-agent": "A sequence",
			"redis-stream": "A sequence", "redis-list": "B key", "relp": "C run"}[x.Input]; x.Class != want && (want != "" || x.Class != "D none") {
			t.Errorf("the class of %s is %s", x.Input, x.Class)
		}
	}
}
