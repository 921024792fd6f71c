package zmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/zmtp"
	"fanin/internal/zmtp/zmtptest"
	"fanin/sink"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

// stage is a log that a PUB socket publishes.
type stage struct {
	*Publisher
	sink *sink.Sink
	at   string // the endpoint
	stop func()
}

// publish opens a log and publishes it until the test ends, or stop.
func publish(t testing.TB, p *Publisher, security ...zmtp.Security) *stage {
	t.Helper()
	k := &sink.Sink{Path: filepath.Join(t.TempDir(), "all.log"), Host: "here", Sync: "none"}
	if err := k.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.Sink, p.Log = k, slog.New(slog.DiscardHandler)
	p.setUp()
	s := &zmtp.Socket{Options: zmtp.Options{Type: zmtp.Pub, WriteTimeout: -1}, Handle: p.Handle, Sends: true,
		Bind: []zmtp.Endpoint{{Network: "tcp", Address: "127.0.0.1:0"}}}
	for _, x := range security {
		s.Options.Security = x
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran, served := make(chan struct{}), make(chan struct{})
	go func() { p.Run(ctx); close(ran) }()   // ends by stop
	go func() { s.Serve(); close(served) }() // ends by stop
	x := &stage{Publisher: p, sink: k, at: s.Addrs()[0]}
	stopped := false
	x.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		<-ran
		end, done := context.WithTimeout(context.Background(), 10*time.Second)
		defer done()
		if err := s.Shutdown(end); err != nil {
			t.Error(err)
		}
		<-served
	}
	t.Cleanup(func() {
		x.stop()
		k.Close(context.Background())
	})
	return x
}

// put writes lines into the log.
func (x *stage) put(t *testing.T, host, source string, lines ...string) {
	t.Helper()
	err := x.sink.Append(context.Background(), wire.Batch{Host: host, Source: source, Input: "tcp", Time: time.Now().UnixMicro(),
		Text: []byte(strings.Join(lines, "\n") + "\n")})
	if err != nil {
		t.Fatal(err)
	}
}

// awaitSubscriptions waits until there are so many, of all subscribers.
func (x *stage) awaitSubscriptions(t testing.TB, n int) {
	t.Helper()
	waittest.UntilEqual(t, "subscriptions", n, func() (all int) {
		for _, s := range x.Subscribers() {
			all += s.Subscriptions
		}
		return all
	})
}

// receive prints what a SUB gets, and ends with a line that ends in "end".
const receive = `
s = socket("SUB", args[0], topics=[a.encode() for a in args[1:]])
while True:
    frames = s.recv_multipart()
    say(" ".join([frames[0].decode(), frames[1].decode().split(": ")[1]] + [str(struct.unpack("<I", f)[0]) for f in frames[2:]]))
    if frames[1].endswith(b"end"):
        break
`

// TestPublish: libzmq subscribers get the lines of their topics, in order, each with its
// topic; what they did not subscribe to they do not get.
func TestPublish(t *testing.T) {
	x := publish(t, new(Publisher))
	x.put(t, "web", "app", "before anybody subscribed")
	web, two := zmtptest.Start(t, receive, x.at, "web/"), zmtptest.Start(t, receive, x.at, "db/post", "web/nginx")
	x.awaitSubscriptions(t, 3)
	x.put(t, "web", "nginx", "one", "two")
	x.put(t, "db", "postgres", "three")
	x.put(t, "web-2", "nginx", "four")
	x.put(t, "web", "app", "five")
	x.put(t, "web", "nginx", "end")
	for _, want := range []string{"web/nginx one", "web/nginx two", "web/app five", "web/nginx end"} {
		web.Want(want)
	}
	for _, want := range []string{"web/nginx one", "web/nginx two", "db/postgres three", "web/nginx end"} {
		two.Want(want)
	}
}

// TestPublishSequence: with counters each topic is counted from 0, whatever the subscriptions are.
func TestPublishSequence(t *testing.T) {
	x := publish(t, &Publisher{Sequence: true})
	x.put(t, "web", "app", "before", "anybody")
	visible(t, x.sink)
	all := zmtptest.Start(t, receive, x.at, "")
	x.awaitSubscriptions(t, 1)
	x.put(t, "web", "app", "one")
	x.put(t, "web", "nginx", "two")
	x.put(t, "web", "app", "end")
	for _, want := range []string{"web/app one 2", "web/nginx two 0", "web/app end 3"} {
		all.Want(want)
	}
}

// visible waits until all that was acknowledged is in the file.
func visible(t *testing.T, s *sink.Sink) {
	t.Helper()
	waittest.Until(t, "all lines to be visible", func() bool {
		n, _, err := s.Count(context.Background(), sink.Position{Generation: 1}, s.End())
		return err == nil && n == s.Status().Lines
	})
}

// slow is a subscriber that reads nothing until it is told, and then all.
const slow = `
s = socket("SUB", args[0], topics=[a.encode() for a in args[1:]], RCVHWM=1, RCVBUF=4096)
s.recv_multipart()
say("connected")
wait()
n = 0
last = -1
while True:
    topic, line = s.recv_multipart()
    n += 1
    text = line.decode().split(": ")[1]
    if text == "end":
        break
    assert int(text.split()[0]) > last
    last = int(text.split()[0])
say(n)
wait()
`

// TestPublishDrops: what a slow subscriber is not sent is counted exactly; a fast one
// beside it gets everything.
func TestPublishDrops(t *testing.T) {
	x := publish(t, &Publisher{HWM: 5000})
	late, fast := zmtptest.Start(t, slow, x.at, "web/"), zmtptest.Start(t, slow, x.at, "web/a", "none")
	x.awaitSubscriptions(t, 3)
	x.put(t, "web", "a", "hello")
	late.Want("connected")
	fast.Want("connected")
	fast.Tell("go")
	filler := strings.Repeat("x", 200)
	const lines, each = 150_000, 500
	for i := 0; i < lines; i += each {
		text := make([]string, each)
		for j := range text {
			text[j] = fmt.Sprintf("%d %s", i+j, filler)
		}
		x.put(t, "web", string("ab"[i/each%2]), text...)
		waittest.Until(t, "the fast subscriber", func() bool { return x.state(t, 2).Sent+2000 > uint64(i/2) })
	}
	late.Tell("go")
	x.put(t, "web", "a", "end")
	got, err := strconv.Atoi(late.Line())
	if err != nil {
		t.Fatal(err)
	}
	fast.Want(strconv.Itoa(lines/2 + 1))
	waittest.Until(t, "both to have all", func() bool { return x.state(t, 1).Waiting+x.state(t, 2).Waiting == 0 })
	if f := x.state(t, 2); f.Dropped != 0 || f.Sent != lines/2+2 {
		t.Errorf("the fast one: %+v", f)
	}
	if s := x.state(t, 1); s.Dropped == 0 || int(s.Sent) != got+1 || s.Sent+s.Dropped != lines+2 {
		t.Errorf("the slow one received %d lines, and it is %+v of %d lines", got, s, lines+2)
	}
}

// state is the subscriber with so many subscriptions.
func (x *stage) state(t *testing.T, subscriptions int) Subscriber {
	t.Helper()
	all := x.Subscribers()
	i := slices.IndexFunc(all, func(s Subscriber) bool { return s.Subscriptions == subscriptions })
	if i < 0 {
		t.Fatalf("no peer has %d subscriptions: %+v", subscriptions, all)
	}
	return all[i]
}

// TestPublishStops: at the end, subscribers get what is in the log.
func TestPublishStops(t *testing.T) {
	x := publish(t, new(Publisher))
	all := zmtptest.Start(t, slow, x.at, "")
	x.awaitSubscriptions(t, 1)
	x.put(t, "web", "app", "hello")
	all.Want("connected")
	all.Tell("go")
	text := make([]string, 50_000)
	for i := range text {
		text[i] = strconv.Itoa(i)
	}
	x.put(t, "web", "app", append(text, "end")...)
	visible(t, x.sink)
	x.stop()
	all.Want(strconv.Itoa(len(text) + 1))
}

// TestPublishCurve: what is encoded once is encrypted for each subscriber, and counted as
// without encryption.
func TestPublishCurve(t *testing.T) {
	secret, err := zmtp.NewSecretKey()
	if err != nil {
		t.Fatal(err)
	}
	public, err := secret.Public()
	if err != nil {
		t.Fatal(err)
	}
	x := publish(t, new(Publisher), zmtp.Security{Server: true, Curve: &zmtp.Curve{Secret: secret}})
	all := zmtptest.Start(t, `
public, secret = zmq.curve_keypair()
s = socket("SUB", args[0], topics=[b"web/a"], CURVE_SERVERKEY=args[1].encode(), CURVE_PUBLICKEY=public, CURVE_SECRETKEY=secret)
for i in range(20000):
    topic, line = s.recv_multipart()
    assert topic == b"web/a" and line.endswith(b": %d" % (2 * i)), (i, line)
say("all")
wait()
`, x.at, public.String())
	x.awaitSubscriptions(t, 1)
	for i := range 400 {
		var text []string
		for j := range 50 {
			text = append(text, strconv.Itoa(2*(50*i+j)))
		}
		x.put(t, "web", "a", text...)
		x.put(t, "web", "b", "one")
	}
	all.Want("all")
	waittest.Until(t, "all to be counted", func() bool { s := x.state(t, 1); return s.Sent == 20_000 && s.Dropped+s.Waiting == 0 })
}

// connect connects a SUB of ours.
func (x *stage) connect(t *testing.T) *zmtp.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", strings.TrimPrefix(x.at, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := zmtp.Handshake(t.Context(), nc, &zmtp.Options{Type: zmtp.Sub})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestPublishHostile: endless subscriptions, and long ones, end the connection; others get
// their lines.
func TestPublishHostile(t *testing.T) {
	x := publish(t, new(Publisher))
	good := zmtptest.Start(t, receive, x.at, "web/")
	x.awaitSubscriptions(t, 1)
	for name, topic := range map[string]func(i int) string{
		"endless":   func(i int) string { return fmt.Sprintf("topic %d", i) },
		"long":      func(i int) string { return strings.Repeat("x", 1<<10) + strconv.Itoa(i) },
		"very long": func(int) string { return strings.Repeat("x", 1<<20) },
	} {
		c := x.connect(t)
		for i := 0; i < 1_000_000 && c.Subscribe(topic(i)) == nil; i++ {
		}
		if _, err := c.Receive(); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("%s: the connection goes on: %v", name, err)
		}
	}
	waittest.UntilEqual(t, "hostile subscribers that are left", 1, func() int { return len(x.Subscribers()) })
	x.put(t, "web", "app", "end")
	good.Want("web/app end")
}

// TestPublishMemory: subscribers that never read, each stuck in another part of
// the log, hold what all share and a bounded part of their own.
func TestPublishMemory(t *testing.T) {
	x := publish(t, new(Publisher))
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := memory()
	const subscribers = 30
	text := make([]string, 600)
	for i := range text {
		text[i] = strings.Repeat("x", 1000)
	}
	for i := range subscribers {
		c := x.connect(t)
		if err := c.Subscribe("web/"); err != nil {
			t.Fatal(err)
		}
		x.awaitSubscriptions(t, i+1)
		for range 14 { // more than its connection holds
			x.put(t, "web", "app", text...)
		}
		visible(t, x.sink)
	}
	waittest.Until(t, "all to be published", func() bool { return x.Subscribers()[0].Sent+x.Subscribers()[0].Dropped > 1000 })
	const shared, own = keptBlocks * (blockSize + 16<<10), 96 << 10 // with the block that each is stuck in
	after := memory()
	t.Logf("%d subscribers hold %d KiB", subscribers, (after-before)>>10)
	if after-before > shared+subscribers*own {
		t.Errorf("want at most %d KiB", (shared+subscribers*own)>>10)
	}
}
