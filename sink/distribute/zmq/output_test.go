package zmq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/zmtp"
	"fanin/internal/zmtp/zmtptest"
	"fanin/sink"
	"fanin/sink/distribute"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stage is a log whose lines a PUSH socket carries.
type stage struct {
	*Output
	sink *sink.Sink
	work *distribute.Distributor
	at   string // the endpoint
	stop func()
}

// push opens a log and pushes its lines until the test ends, or stop. It binds, or connects
// to the endpoints named.
func push(t testing.TB, o *Output, connect ...string) *stage {
	t.Helper()
	k := &sink.Sink{Path: filepath.Join(t.TempDir(), "all.log"), Host: "here", Sync: "none"}
	d := distribute.New(k, distribute.Settings{Retry: time.Millisecond, Attempts: 2})
	k.Retention.AwaitConsumers = true
	for _, f := range []func(context.Context) error{k.Open, d.Open} {
		if err := f(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	o.Dial, o.Group = d.Connect, "zmq"
	if err := d.Create(o.Group, ""); err != nil {
		t.Fatal(err)
	}
	s := &zmtp.Socket{Options: zmtp.Options{Type: zmtp.Push, WriteTimeout: -1, MaxMessage: MaxMessage, CloseOversized: true}, Handle: o.Handle, Sends: true}
	if len(connect) == 0 {
		s.Bind = []zmtp.Endpoint{{Network: "tcp", Address: "127.0.0.1:0"}}
	}
	for _, text := range connect {
		e, err := zmtp.ParseEndpoint(text)
		if err != nil {
			t.Fatal(err)
		}
		s.Connect = append(s.Connect, e)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { s.Serve(); close(served) }() // ends by stop
	x := &stage{Output: o, sink: k, work: d, at: s.Addrs()[0]}
	stopped := false
	x.stop = func() {
		if stopped {
			return
		}
		stopped = true
		end, done := context.WithTimeout(context.Background(), 5*time.Second)
		defer done()
		if err := s.Shutdown(end); err != nil {
			t.Error(err)
		}
		<-served
		d.Shutdown(context.Background())
		k.Close(context.Background())
	}
	t.Cleanup(x.stop)
	return x
}

// put writes lines into the log.
func (x *stage) put(t *testing.T, lines ...string) {
	t.Helper()
	err := x.sink.Append(context.Background(), wire.Batch{Host: "web", Source: "app", Input: "tcp", Time: time.Now().UnixMicro(),
		Text: []byte(strings.Join(lines, "\n") + "\n")})
	if err != nil {
		t.Fatal(err)
	}
}

func numbers(from, to int) (lines []string) {
	for i := from; i < to; i++ {
		lines = append(lines, fmt.Sprintf("line %d", i))
	}
	return lines
}

// pull prints the numbers of the lines that it gets, and ends after so many.
const pull = `
s = socket("PULL", args[0], bind=args[1] == "bind")
if args[1] == "bind":
    say(s.getsockopt(zmq.LAST_ENDPOINT).decode().strip("\0"))
for i in range(int(args[2])):
    (line,) = s.recv_multipart()
    say(line.decode().split("line ")[1])
wait()
`

func received(p *zmtptest.Peer, n int) (lines []string) {
	for range n {
		lines = append(lines, p.Line())
	}
	return lines
}

// group is the state of the one group.
func (x *stage) group(t testing.TB) distribute.GroupStatus {
	t.Helper()
	all, err := x.work.Groups(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("%d groups, %v", len(all), err)
	}
	return all[0]
}

// TestPush: lines wait for the first peer, and each goes to one of two, in turn.
func TestPush(t *testing.T) {
	x := push(t, new(Output))
	x.put(t, numbers(0, 10)...)
	if !strings.Contains(x.Trouble(), "no peer is connected; lines wait in the group zmq") {
		t.Errorf("the trouble is %q", x.Trouble())
	}
	a := zmtptest.Start(t, pull, x.at, "connect", "60")
	for i, got := range received(a, 10) {
		if got != fmt.Sprint(i) {
			t.Errorf("line %d is %s", i, got)
		}
	}
	b := zmtptest.Start(t, pull, x.at, "connect", "50")
	waittest.UntilEqual(t, "peers", 2, func() int { return x.group(t).Workers })
	if x.Trouble() != "" {
		t.Errorf("the trouble is %q", x.Trouble())
	}
	x.put(t, numbers(10, 110)...)
	all := append(received(a, 50), received(b, 50)...)
	slices.Sort(all)
	if len(slices.Compact(all)) != 100 {
		t.Errorf("received %q", all)
	}
	waittest.UntilEqual(t, "lines that are done", 110, func() uint64 { return x.group(t).Accepted })
}

// TestPushConnects: a PUSH that connects to PULL peers which bind.
func TestPushConnects(t *testing.T) {
	a := zmtptest.Start(t, pull, "tcp://127.0.0.1:*", "bind", "100")
	x := push(t, new(Output), a.Line())
	x.put(t, numbers(0, 100)...)
	for i, got := range received(a, 100) {
		if got != fmt.Sprint(i) {
			t.Errorf("line %d is %s", i, got)
		}
	}
}

// busy takes nothing for as long as it waits, and then all.
const busy = `
s = socket("PULL", args[0], RCVHWM=1, RCVBUF=4096)
wait()
n = 0
while True:
    line = s.recv()
    if line.endswith(b"end"):
        break
    n += 1
say(n)
wait()
`

// putMany puts lines of 2 KB into the log.
func (x *stage) putMany(t *testing.T, n int) {
	t.Helper()
	filler := strings.Repeat("x", 2000)
	var text []string
	for i := range n {
		text = append(text, fmt.Sprintf("%s line %d", filler, i))
	}
	for part := range slices.Chunk(text, 400) {
		x.put(t, part...)
	}
}

// awaitStuck waits until the only peer, with an HWM of 100, takes nothing more: the buffers
// of its connection are full.
func (x *stage) awaitStuck(t *testing.T) {
	t.Helper()
	var before uint64
	var since time.Time
	waittest.Until(t, "the peer to be stuck", func() bool {
		g := x.group(t)
		if g.Accepted != before || g.InFlight < 100 {
			before, since = g.Accepted, time.Now()
		}
		return time.Since(since) > 500*time.Millisecond
	})
}

// TestPushBusy: a peer that reads nothing keeps no more than its high-water mark and what
// its connection holds; others get the rest. When it ends, what it was not sent goes to
// another, and no line is lost that the kernel had not taken.
func TestPushBusy(t *testing.T) {
	x := push(t, &Output{HWM: 100})
	stuck := zmtptest.Start(t, busy, x.at)
	waittest.UntilEqual(t, "peers", 1, func() int { return x.group(t).Workers })
	x.putMany(t, 20_000)
	x.awaitStuck(t)
	good := zmtptest.Start(t, busy, x.at)
	good.Tell("go")
	waittest.UntilEqual(t, "lines that are held by the stuck peer alone", true, func() bool {
		g := x.group(t)
		return g.LagLines <= 100 && g.InFlight <= 100
	})
	if g := x.group(t); g.InFlight == 0 || g.Accepted != 20_000-uint64(g.InFlight) {
		t.Errorf("the group is %+v", g)
	}
	stuck.Tell("go")
	waittest.UntilEqual(t, "lines that are done", 20_000, func() uint64 { return x.group(t).Accepted })
	x.put(t, "end", "end")
	var a, b int
	fmt.Sscan(stuck.Line(), &a)
	fmt.Sscan(good.Line(), &b)
	if a+b != 20_000 || a == 0 || b < 10_000 {
		t.Errorf("the stuck peer received %d lines, the other one %d; want 20,000 together", a, b)
	}
}

// slow counts what it gets until nothing comes for a second. It sends many heartbeats.
const slow = `
s = socket("PULL", args[0], RCVHWM=1, HEARTBEAT_IVL=5, HEARTBEAT_TIMEOUT=30000, RCVBUF=20000)
n = 0
while True:
    if not s.poll(1000 if n else 30000):
        break
    s.recv()
    n += 1
    time.sleep(0.0002)
say(n)
`

// TestPushStops: at a shutdown a peer gets all lines that count as done, although it is
// slow and still sends.
func TestPushStops(t *testing.T) {
	x := push(t, new(Output))
	p := zmtptest.Start(t, slow, x.at)
	filler := strings.Repeat("x", 500)
	for range 20 {
		var text []string
		for i := range 500 {
			text = append(text, fmt.Sprintf("%s line %d", filler, i))
		}
		x.put(t, text...)
	}
	waittest.Until(t, "lines on their way", func() bool { return x.group(t).Accepted > 1000 })
	x.stop()
	done := x.group(t).Accepted
	if got := p.Line(); got != fmt.Sprint(done) {
		t.Errorf("the peer received %s lines of %d that count as done", got, done)
	}
}

// TestPushBroken: when a connection ends in the middle of a line, the lines that the kernel
// had taken whole are done, and the next peer begins with the torn one.
func TestPushBroken(t *testing.T) {
	x := push(t, &Output{HWM: 100})
	nc, err := net.Dial("tcp", strings.TrimPrefix(x.at, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := zmtp.Handshake(t.Context(), nc, &zmtp.Options{Type: zmtp.Pull})
	if err != nil {
		t.Fatal(err)
	}
	x.putMany(t, 5_000)
	x.awaitStuck(t)
	if _, err := nc.Write([]byte{0xff, 0xff}); err != nil { // no frame: the connection ends
		t.Fatal(err)
	}
	waittest.UntilEqual(t, "peers", 0, func() int { return x.group(t).Workers })
	whole := 0 // what the kernel had taken
	for _, err = c.Receive(); err == nil; _, err = c.Receive() {
		whole++
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the connection ends with %v; want it in the middle of a line", err)
	}
	if done := x.group(t).Accepted; int(done) != whole || whole == 0 {
		t.Errorf("%d lines are done, and the kernel had taken %d", done, whole)
	}
	p := zmtptest.Start(t, pull, x.at, "connect", fmt.Sprint(5_000-whole))
	for i, got := range received(p, 5_000-whole) {
		if got != fmt.Sprint(whole+i) {
			t.Fatalf("the kernel took %d lines, and line %d behind them is %s", whole, i, got)
		}
	}
}

// TestPushHostile: a PULL that sends messages gets no attention, and one that sends long
// ones is disconnected; lines go to others.
func TestPushHostile(t *testing.T) {
	x := push(t, new(Output))
	for _, message := range []int{10, 1 << 20} {
		nc, err := net.Dial("tcp", strings.TrimPrefix(x.at, "tcp://"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := zmtp.Handshake(t.Context(), nc, &zmtp.Options{Type: zmtp.Pull})
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			c.Send(make([]byte, message))
		}
		c.Flush()
		if message == 10 {
			c.Close()
		} else if _, err := c.Receive(); err == nil {
			t.Error("the peer is not disconnected")
		}
	}
	x.put(t, numbers(0, 10)...)
	p := zmtptest.Start(t, pull, x.at, "connect", "10")
	for i, got := range received(p, 10) {
		if got != fmt.Sprint(i) {
			t.Errorf("line %d is %s", i, got)
		}
	}
}
