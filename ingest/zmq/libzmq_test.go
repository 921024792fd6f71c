package zmq

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fanin/ingest/ingesttest"
	"fanin/internal/freeport"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/zmtp"
	"fanin/internal/zmtp/zmtptest"
)

// freeEndpoint is a TCP port that nothing is bound to.
func freeEndpoint(t *testing.T) zmtp.Endpoint {
	t.Helper()
	port, err := freeport.One()
	if err != nil {
		t.Fatal(err)
	}
	return endpoint(t, fmt.Sprint("tcp://127.0.0.1:", port))
}

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()
}

// TestPullLibzmq: libzmq's PUSH, in both directions, and over a Unix socket.
func TestPullLibzmq(t *testing.T) {
	const push = `
s = socket("PUSH", args[0], args[1] == "bind")
for i in range(int(args[2])):
    s.send(b"line %d" % i)
s.close(linger=30000)
context.term()
say("sent")
`
	const messages = 20_000
	ipc := endpoint(t, "ipc://"+filepath.Join(t.TempDir(), "s.sock"))
	for _, c := range []struct {
		name string
		at   zmtp.Endpoint
		how  string
	}{{"bound", freeEndpoint(t), "connect"}, {"connected", freeEndpoint(t), "bind"}, {"ipc", ipc, "connect"}, {"ipc connected", ipc, "bind"}} {
		t.Run(c.name, func(t *testing.T) {
			o := SocketOptions{Type: zmtp.Pull}
			if c.how == "bind" {
				o.Connect = []zmtp.Endpoint{c.at}
			} else {
				o.Bind = []zmtp.Endpoint{c.at}
			}
			s := serve(t, &Input{Socket: o})
			zmtptest.Start(t, push, c.at.String(), c.how, fmt.Sprint(messages)).Want("sent")
			batches := s.out.WaitText(t, numbered(messages))
			if batches[0].Host != "127.0.0.1" || batches[0].Source != "zmq" {
				t.Errorf("host %q, source %q", batches[0].Host, batches[0].Source)
			}
		})
	}
}

// TestPullStops: while the collector is stopped and started again, a PUSH of libzmq keeps what
// it has not sent. What it has sent is read before the socket closes.
func TestPullStops(t *testing.T) {
	const push = `
s = socket("PUSH", args[0])
wait()
for i in range(int(args[1])):
    s.send(b"%08d" % i)
s.close(linger=30000)
context.term()
say("sent")
`
	const messages, stops = 400_000, 5
	at := freeEndpoint(t)
	p := zmtptest.Start(t, push, at.String(), fmt.Sprint(messages))
	p.Tell("go")
	out, breaks, before := ingesttest.NewRecorder(), 0, 0
	for i := range stops + 1 {
		s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Pull, Bind: []zmtp.Endpoint{at}}, Out: out})
		s.out = out
		if i < stops {
			out.Wait(t, func(text string, _ []wire.Batch) bool { return len(text) > before+9*messages/20 })
		} else {
			p.Want("sent")
			out.Wait(t, func(text string, _ []wire.Batch) bool {
				return strings.HasSuffix(text, fmt.Sprintf("%08d\n", messages-1))
			})
		}
		s.stop()
		breaks += ingesttest.Metric(t, s.Metrics, "fanin_zmq_breaks_total", "pull")
		before = len(out.Text())
	}
	got := strings.Fields(out.Text())
	missing := messages - len(got)
	if !slices.IsSorted(got) || len(slices.Compact(got)) != len(got) {
		t.Error("the messages are out of order, or doubled")
	}
	// What libzmq has encoded and not written is lost at its side: at most one of its buffers
	// for each stop.
	t.Logf("%d of %d messages are missing after %d stops, %d breaks counted", missing, messages, stops, breaks)
	if most := stops * 8192 / 10; missing > most {
		t.Errorf("%d messages are missing, want at most %d", missing, most)
	}
}

// TestSubLibzmq: libzmq's PUB, which sends only what was subscribed to.
func TestSubLibzmq(t *testing.T) {
	const pub = `
s = socket("XPUB", args[0], args[1] == "bind")
say(s.recv().hex())
for i in range(int(args[2])):
    s.send_multipart([b"other", b"x"])
    s.send_multipart([b"app.%d" % (i % 3), b"line %d" % i, b"more"])
s.close(linger=30000)
context.term()
say("sent")
`
	for _, how := range []string{"connect", "bind"} {
		t.Run(how, func(t *testing.T) {
			const messages = 300
			at := freeEndpoint(t)
			o := SocketOptions{Type: zmtp.Sub}
			if how == "bind" {
				o.Connect = []zmtp.Endpoint{at}
			} else {
				o.Bind = []zmtp.Endpoint{at}
			}
			s := serve(t, &Input{Socket: o, Sub: SubOptions{Topics: []string{"app."}}})
			p := zmtptest.Start(t, pub, at.String(), how, fmt.Sprint(messages))
			p.Want("01" + fmt.Sprintf("%x", "app."))
			p.Want("sent")
			_, batches := s.out.Wait(t, func(text string, _ []wire.Batch) bool { return strings.Count(text, "\n") == 2*messages })
			got := labelled(batches)
			for i := range messages {
				if got[2*i] != fmt.Sprintf("app.%d|line %d", i%3, i) || got[2*i+1] != fmt.Sprintf("app.%d|more", i%3) {
					t.Fatalf("message %d is %q", i, got[2*i:2*i+2])
				}
			}
			s.counted(t, "fanin_zmq_breaks_total", 1) // the publisher ended
		})
	}
}

// TestSecureLibzmq: PLAIN and CURVE with libzmq; a wrong password or key is refused.
func TestSecureLibzmq(t *testing.T) {
	const push = `
s = socket("PUSH", IMMEDIATE=1)
s.sndtimeo = int(args[1])
if args[2] == "plain":
    s.plain_username, s.plain_password = args[3].encode(), args[4].encode()
else:
    s.curve_serverkey, s.curve_secretkey, s.curve_publickey = (a.encode() for a in args[3:6])
s.connect(args[0])
try:
    s.send(b"secret")
    s.close(linger=30000)
    context.term()
    say("sent")
except zmq.Again:
    say("refused")
`
	key := func() (zmtp.SecretKey, zmtp.Key) {
		k, err := zmtp.NewSecretKey()
		if err != nil {
			t.Fatal(err)
		}
		public, err := k.Public()
		if err != nil {
			t.Fatal(err)
		}
		return k, public
	}
	server, serverPublic := key()
	client, clientPublic := key()
	other, otherPublic := key()
	text := func(k zmtp.SecretKey) string { return zmtp.Key(k).String() }
	for _, c := range []struct {
		name     string
		security zmtp.Security
		args     []string
		want     string
	}{
		{"plain", zmtp.Security{Server: true, Plain: &zmtp.Plain{User: "app", Password: "p"}}, []string{"plain", "app", "p"}, "sent"},
		{"wrong password", zmtp.Security{Server: true, Plain: &zmtp.Plain{User: "app", Password: "p"}}, []string{"plain", "app", "x"}, "refused"},
		{"curve", zmtp.Security{Server: true, Curve: &zmtp.Curve{Secret: server, Clients: map[zmtp.Key]bool{clientPublic: true}}},
			[]string{"curve", serverPublic.String(), text(client), clientPublic.String()}, "sent"},
		{"unknown key", zmtp.Security{Server: true, Curve: &zmtp.Curve{Secret: server, Clients: map[zmtp.Key]bool{clientPublic: true}}},
			[]string{"curve", serverPublic.String(), text(other), otherPublic.String()}, "refused"},
		{"other mechanism", zmtp.Security{}, []string{"plain", "app", "p"}, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, &Input{Socket: SocketOptions{Type: zmtp.Pull, Security: c.security}})
			wait := "30000"
			if c.want == "refused" {
				wait = "700"
			}
			p := zmtptest.Start(t, push, append([]string{s.Addrs()[0], wait}, c.args...)...)
			p.Want(c.want)
			if c.want == "sent" {
				s.out.WaitText(t, "secret\n")
				return
			}
			waittest.Until(t, "a peer to be refused", func() bool {
				n := 0
				for _, reason := range []string{"credentials", "mechanism", "ended"} {
					n += ingesttest.Metric(t, s.Metrics, "fanin_zmq_rejected_connections_total", reason)
				}
				return n > 0
			})
		})
	}
}
