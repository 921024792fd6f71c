package collector

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/waittest"
	"fanin/internal/zmtp"
	"fanin/internal/zmtp/zmtptest"
)

// endpoint is where a socket of the ZeroMQ table is.
func (c *server) endpoint(t *testing.T, key string) string {
	t.Helper()
	for _, x := range c.listeners.all() {
		for _, at := range strings.Split(x.address, ", ") {
			if e, ok := strings.CutPrefix(at, key+" "); ok && x.kind == "zmq" {
				return e
			}
		}
	}
	t.Fatalf("there is no socket %s", key)
	return ""
}

// ask sends requests and prints the answers. The second argument is the kind of socket.
const askREQ = `
s = socket("REQ", args[0])
for r in args[1:]:
    s.send_string(r)
    say(s.recv_string())
s.close()
d = socket("DEALER", args[0])
d.send_multipart([b"id", b"", b"ping"])
say("|".join(f.decode()[:8] for f in d.recv_multipart()))
d.send_multipart([b"", b"ping"])
say("|".join(f.decode()[:8] for f in d.recv_multipart()))
d.send(b"ping")
say("|".join(f.decode()[:8] for f in d.recv_multipart()))
d.send_multipart([b"", b"one", b"two"])
say(d.recv_multipart()[1].decode())
d.send_multipart([b"", b"x" * 2000])
say(d.recv_multipart()[1].decode())
r = socket("REQ", args[0], REQ_RELAXED=1, REQ_CORRELATE=1)
r.send(b"status")
r.send(b"ping")
say(r.recv_string()[:8])
`

// TestZMQStatus: Python's plain sockets ask, each with its own envelope, and get JSON.
func TestZMQStatus(t *testing.T) {
	c, _ := configured(t, "[[collector.zmq]]\n[collector.zmq.status]\nrep = \"tcp://127.0.0.1:0\"\n[collector.work]\nlisten = \"127.0.0.1:0\"\n")
	c.send(t, "hello")
	p := zmtptest.Start(t, askREQ, c.endpoint(t, "rep"), "status", "streams", "groups", "rotate", "ping", "hello?x", " status ", "streams?older=x", "")
	for _, want := range []string{`"lines":1,`, `[]`, `[]`, `{"error":"forbidden: `, `"version":`,
		`{"error":"unknown request \"hello\"; the requests are ping, status, streams, groups, rotate"}`, `"lines":1,`, `{"error":"which streams: `,
		`{"error":"unknown request \"\"; the requests are `} {
		answer := p.Line()
		if !json.Valid([]byte(answer)) || !strings.Contains(answer, want) {
			t.Errorf("the answer is %s, want %s", answer, want)
		}
	}
	for _, want := range []string{`id||{"versio`, `|{"versio`, `{"versio`, `{"error":"a request is one frame, and this one has 2; the requests are ping, status, streams, groups, rotate"}`,
		`{"error":"a request has at most 1024 bytes, and this one has 2000"}`, `{"versio`} {
		p.Want(want)
	}
}

// TestZMQControl: with control, a request may change something. An answer that is not read
// keeps no other peer waiting.
func TestZMQControl(t *testing.T) {
	c, _ := configured(t, "[[collector.zmq]]\n[collector.zmq.status]\nrep = \"tcp://127.0.0.1:0\"\ncontrol = true\n")
	c.send(t, "hello")
	for range 20 {
		zmtptest.Start(t, `
s = socket("DEALER", args[0], RCVHWM=1, RCVBUF=2048)
for i in range(1000):
    s.send(b"status", zmq.DONTWAIT)
say("sent")
wait()
`, c.endpoint(t, "rep")).Want("sent")
	}
	p := zmtptest.Start(t, askREQ, c.endpoint(t, "rep"), "rotate", "groups")
	for _, want := range []string{`"generation":1`, `{"error":"there are no groups of workers`} {
		if answer := p.Line(); !strings.Contains(answer, want) {
			t.Errorf("the answer is %s, want %s", answer, want)
		}
	}
	if got := c.audits(t); len(got) != 1 || got[0] != `request=rotate by="ZeroMQ at 127.0.0.1"` {
		t.Errorf("the audit has %q", got)
	}
}

// TestZMQOutput: a group is pushed, and the log is published, with CURVE and PLAIN, to
// Python's sockets; both show in the status.
func TestZMQOutput(t *testing.T) {
	dir := t.TempDir()
	secret, err := zmtp.NewSecretKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := zmtp.WriteKeyPair(filepath.Join(dir, "fanin"), secret); err != nil {
		t.Fatal(err)
	}
	public, err := secret.Public()
	if err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _ := configured(t, fmt.Sprintf("[[collector.zmq]]\ncurve = {secret_file = %q}\n[collector.zmq.output]\npush = \"tcp://127.0.0.1:0\"\nfrom = \"start\"\n"+
		"[[collector.zmq]]\n[collector.zmq.output]\npub = \"tcp://127.0.0.1:0\"\nplain = {user = \"app\", password_file = %q}\n",
		filepath.Join(dir, "fanin.key_secret"), password))
	if got := c.asked(t, "GET", "/status"); !strings.Contains(got, "no peer is connected; lines wait in the group zmq") {
		t.Errorf("without a peer the status is %s", got)
	}
	sub := zmtptest.Start(t, `
s = socket("SUB", args[0], PLAIN_USERNAME=b"app", PLAIN_PASSWORD=b"secret", topics=[b"127.0.0.1/tcp"])
say(" ".join(f.decode() for f in s.recv_multipart()))
wait()
`, c.endpoint(t, "pub"))
	waittest.UntilEqual(t, "subscribers", 1, func() (n int) {
		for _, x := range c.subscribers() {
			n += x.Subscriptions
		}
		return n
	})
	c.send(t, "hello")
	if got := sub.Line(); !strings.HasPrefix(got, "127.0.0.1/tcp 2") || !strings.HasSuffix(got, " 127.0.0.1 tcp: hello") {
		t.Errorf("published was %q", got)
	}
	pull := zmtptest.Start(t, `
public, secret = zmq.curve_keypair()
s = socket("PULL", args[0], CURVE_SERVERKEY=args[1].encode(), CURVE_PUBLICKEY=public, CURVE_SECRETKEY=secret)
say(s.recv_string())
`, c.endpoint(t, "push"), public.String())
	if got := pull.Line(); !strings.HasSuffix(got, " 127.0.0.1 tcp: hello") {
		t.Errorf("pushed was %q", got)
	}
	waittest.UntilEqual(t, "lines that are done", 1, func() uint64 { return onlyGroup(t, c).Accepted })
	if got := c.asked(t, "GET", "/status"); !strings.Contains(got, `"zmq_subscribers":[{"peer":"127.0.0.1:`) || !strings.Contains(got, `"subscriptions":1,"sent":1,"dropped":0,"waiting":0}]`) {
		t.Errorf("the status is %s", got)
	}
}

// TestZMQOutputChecks: mistakes in the tables of what goes out.
func TestZMQOutputChecks(t *testing.T) {
	for text, want := range map[string]string{
		"[[collector.zmq]]\n[collector.zmq.output]\nhwm = 5":                                                                                         "the output needs one of push and pub",
		"[[collector.zmq]]\n[collector.zmq.output]\npush = \"tcp://127.0.0.1:1\"\npub = \"tcp://127.0.0.1:2\"":                                       "the output needs one of push and pub",
		"[[collector.zmq]]\n[collector.zmq.output]\npush = \"tcp://*:5558\"":                                                                         "push is \"tcp://*:5558\", which is not only on this machine",
		"[[collector.zmq]]\n[collector.zmq.output]\npush = \"tcp://127.0.0.1:1\"\nsequence = true":                                                   "sequence has no effect with push",
		"[[collector.zmq]]\n[collector.zmq.output]\npub = \"tcp://127.0.0.1:1\"\nfrom = \"start\"":                                                   "from has no effect with pub",
		"[[collector.zmq]]\n[collector.zmq.output]\npush = \"tcp://127.0.0.1:1\"\ngroup = \"a b\"":                                                   "group \"a b\": want 1 to 64 letters",
		"[[collector.zmq]]\n[collector.zmq.output]\npush = \"tcp://127.0.0.1:1\"\nhwm = 100000":                                                      "hwm is 100000; want",
		"[[collector.zmq]]\n[collector.zmq.status]\ncontrol = true":                                                                                  "rep is missing",
		"[[collector.zmq]]\npull = \"tcp://127.0.0.1:5557\"\n[collector.zmq.output]\npush = {connect = [\"tcp://127.0.0.1:5557\"]}":                  "without end",
		"[[collector.zmq]]\nsub = {connect = [\"tcp://127.0.0.1:5557\"]}\n[[collector.zmq]]\n[collector.zmq.output]\npub = \"tcp://127.0.0.1:5557\"": "without end",
		"[[collector.zmq]]\npull = \"tcp://127.0.0.1:5557\"\n[collector.zmq.status]\nrep = \"tcp://127.0.0.1:5557\"":                                 "status.rep is \"127.0.0.1:5557\", where collector.zmq[0] listens already",
	} {
		_, err := loadText(t, t.TempDir(), "[collector.log]\npath = \"x\"\n"+text+"\n")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nreports %v, want %s", text, err, want)
		}
	}
}

// TestZMQOutSockets: no socket that sends gives up a busy peer, which answers no PING, or
// resets a connection at the end; what peers may send is bounded. Who asks is asked back.
func TestZMQOutSockets(t *testing.T) {
	table := &zmqTable{Output: &zmqOutput{Push: &zmqEndpoints{Bind: []string{"tcp://127.0.0.1:0"}}, Pub: &zmqEndpoints{Connect: []string{"tcp://127.0.0.1:1"}}},
		Status: &zmqStatus{Rep: &zmqEndpoints{Bind: []string{"tcp://127.0.0.1:0"}}}}
	for _, x := range table.outs() {
		s, err := x.socket(bare(defaults()))
		if err != nil {
			t.Fatal(err)
		}
		o, sends := &s.Options, x.key != "rep"
		if s.Sends != sends || (o.WriteTimeout < 0) != sends || (o.Heartbeat > 0 && o.HeartbeatTimeout == 2*o.Heartbeat) == sends || o.MaxMessage > maxEnvelope || !o.CloseOversized {
			t.Errorf("%s: %+v", x.key, s.Options)
		}
	}
}

// TestZMQOutConnects: outputs and the status also connect, to Python's sockets that bind.
func TestZMQOutConnects(t *testing.T) {
	pull := zmtptest.Start(t, `
s = [socket(kind, "tcp://127.0.0.1:*", bind=True) for kind in ("PULL", "SUB", "REQ")]
s[1].setsockopt(zmq.SUBSCRIBE, b"127")
for x in s:
    say(x.getsockopt(zmq.LAST_ENDPOINT).decode().strip("\0"))
s[2].send(b"ping")
say(s[2].recv_string()[:10])
say(s[1].recv_multipart()[1].decode()[-10:])
say(s[0].recv_string()[-10:])
`)
	c, _ := configured(t, fmt.Sprintf("[[collector.zmq]]\n[collector.zmq.output]\npush = {connect = [%q]}\n[[collector.zmq]]\n[collector.zmq.output]\n"+
		"pub = {connect = [%q]}\n[collector.zmq.status]\nrep = {connect = [%q]}\n", pull.Line(), pull.Line(), pull.Line()))
	pull.Want(`{"version":`[:10])
	waittest.Until(t, "the subscriber", func() bool { all := c.subscribers(); return len(all) == 1 && all[0].Subscriptions == 1 })
	c.send(t, "hello")
	pull.Want("tcp: hello")
	pull.Want("tcp: hello")
}

// TestZMQChain: what one collector pushes and publishes, another one receives: pushed lines
// and published ones, of which none is missing by their counters.
func TestZMQChain(t *testing.T) {
	from, _ := configured(t, "[[collector.zmq]]\n[collector.zmq.output]\npush = \"tcp://127.0.0.1:0\"\n"+
		"[[collector.zmq]]\n[collector.zmq.output]\npub = \"tcp://127.0.0.1:0\"\nsequence = true\n")
	to, _ := configured(t, fmt.Sprintf("[[collector.zmq]]\npull = {connect = [%q]}\nsource = \"pushed\"\n[[collector.zmq]]\nsub = {connect = [%q]}\nsequence = true\n",
		from.endpoint(t, "push"), from.endpoint(t, "pub")))
	waittest.Until(t, "the subscriber", func() bool { all := from.subscribers(); return len(all) == 1 && all[0].Subscriptions == 1 })
	for i := range 10 {
		from.send(t, fmt.Sprint("line ", i))
	}
	waittest.UntilEqual(t, "lines received", 20, func() uint64 { return to.inputs.Of("zmq").Counts().Written })
	var b []byte
	waittest.UntilEqual(t, "lines in the file", 20, func() int {
		b, _ = os.ReadFile(to.settings.Collector.Log.Path)
		return strings.Count(string(b), " tcp: line ")
	})
	for _, want := range []string{" 127.0.0.1 pushed: ", " 127.0.0.1 127.0.0.1/tcp: "} {
		if n := strings.Count(string(b), want); n != 10 {
			t.Errorf("%d lines have %q, want 10:\n%s", n, want, b)
		}
	}
	if strings.Contains(string(b), "LOST") {
		t.Errorf("lines are reported as lost:\n%s", b)
	}
}

// FuzzZMQRequest: whatever a peer asks, the answer is JSON, and nothing changes without
// control.
func FuzzZMQRequest(f *testing.F) {
	changed := false
	x := newZMQRep(bare(defaults()), false)
	value := func(context.Context, url.Values) (any, error) { return 1, nil }
	x.requests = []request{{name: "ping", answer: value}, {name: "rotate", changes: true,
		answer: func(context.Context, url.Values) (any, error) { changed = true; return 1, nil }}}
	for _, text := range []string{"ping", "rotate", "ping?a=b", "ping?%zz", "\x00\xff", ""} {
		f.Add([]byte(text), []byte(nil), 1)
	}
	f.Fuzz(func(t *testing.T, one, two []byte, n int) {
		answer := x.answer(t.Context(), [][]byte{one, two}[:max(0, min(n, 2))])
		if !json.Valid(answer) || changed {
			t.Errorf("the answer to %q, %q is %s", one, two, answer)
		}
	})
}
