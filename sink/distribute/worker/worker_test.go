package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fanin/sink/distribute/protocol"
)

// collector is the other side of a worker: each connection that the worker makes is a conn.
type collector struct {
	t     *testing.T
	conns chan *conn
}

// conn is one connection of the worker. What the worker sends is in frames.
type conn struct {
	t      *testing.T
	nc     net.Conn
	hello  protocol.Hello
	frames chan protocol.Frame // closed when the connection ended
}

// start runs a worker until stop, which the test's end calls; ended has what Run returned.
func start(t *testing.T, w *Worker) (c *collector, stop func(), ended chan error) {
	t.Helper()
	c = &collector{t: t, conns: make(chan *conn)}
	w.Options.Group = "g"
	ctx, cancel := context.WithCancel(context.Background())
	w.Dial = func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go c.accept(ours) // ends with the connection
		return theirs, nil
	}
	ended = make(chan error, 1)
	var running sync.WaitGroup
	running.Go(func() { ended <- w.Run(ctx) }) // ends by stop
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	return c, stop, ended
}

func (c *collector) accept(nc net.Conn) {
	x := &conn{t: c.t, nc: nc, frames: make(chan protocol.Frame, 100)}
	defer nc.Close()
	defer close(x.frames)
	r := protocol.NewReader(nc, 4096)
	var err error
	if x.hello, err = r.Hello(); err != nil {
		return
	}
	c.conns <- x
	for {
		f, err := r.Frame()
		if err != nil {
			return
		}
		x.frames <- f
	}
}

const lease = 30 * time.Second

// welcome is the next connection, which it answers.
func (c *collector) welcome() *conn {
	x := <-c.conns
	x.write(protocol.AppendWelcome(nil, &protocol.Welcome{Group: "g", Lease: lease}))
	return x
}

func (x *conn) write(b []byte) {
	x.t.Helper()
	if _, err := x.nc.Write(b); err != nil {
		x.t.Error(err)
	}
}

func (x *conn) send(f protocol.Frame) { x.write(protocol.AppendFrame(nil, &f)) }

// deliver sends lines as delivery n, at byte 100*n of the log.
func (x *conn) deliver(n uint64, lines ...string) {
	text := strings.Join(lines, "\n") + "\n"
	x.send(protocol.Frame{Kind: protocol.KindLines, N: n, Attempt: 1, Text: []byte(text),
		Runs: []protocol.Run{{Generation: 3, Offset: int64(100 * n), Length: int64(len(text))}}})
}

// next is the worker's next frame in a short form.
func (x *conn) next() string {
	f, ok := <-x.frames
	if !ok {
		return "the end"
	}
	if f.Kind == protocol.KindCredit {
		return fmt.Sprintf("credit %d", f.Credit)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %d %d-%d %s", f.Kind, f.N, f.From, f.To, f.Reason))
}

func (x *conn) want(want ...string) {
	x.t.Helper()
	for _, w := range want {
		if got := x.next(); got != w {
			x.t.Errorf("the worker sends %q, want %q", got, w)
		}
	}
}

// TestAnswers: what Handle returns answers the lines that it did not answer itself.
func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var accepted []string
		w := &Worker{Options: protocol.Hello{Name: "w-1", Credit: 7},
			Accepted: func(n uint64, from, to int) { accepted = append(accepted, fmt.Sprint(n, from, to)) },
			Handle: func(_ context.Context, d *Delivery) error {
				switch text := string(d.Text); {
				case strings.HasPrefix(text, "fail"):
					return errors.New("no route")
				case strings.HasPrefix(text, "release"):
					return fmt.Errorf("stopping: %w", ErrRelease)
				case strings.HasPrefix(text, "some"):
					return errors.Join(d.Ack(0, 1), d.Nack(2, 3, strings.Repeat("x", 2*protocol.MaxString)), d.Release(3, 4))
				}
				return nil
			}}
		c, stop, ended := start(t, w)
		x := c.welcome()
		if x.hello.Name != "w-1" || x.hello.Credit != 7 || x.hello.Group != "g" {
			t.Errorf("the worker greets with %+v", x.hello)
		}
		x.deliver(1, "one", "two")
		x.want("ack 1 0-2")
		x.send(protocol.Frame{Kind: protocol.KindAccepted, N: 1, From: 0, To: 2})
		x.deliver(2, "fail", "two")
		x.want("nack 2 0-2 no route")
		x.deliver(3, "release", "two")
		x.want("release 3 0-2")
		x.deliver(4, "some", "one", "two", "three", "four", "five")
		x.want("ack 4 0-1", "nack 4 2-3 "+strings.Repeat("x", protocol.MaxString), "release 4 3-4", "ack 4 1-2", "ack 4 4-6")
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if strings.Join(accepted, ",") != "1 0 2" {
			t.Errorf("accepted are %q", accepted)
		}
	})
}

// TestLines: each line has its position in the log, over several runs, and only lines that
// exist can be answered.
func TestLines(t *testing.T) {
	d := newDelivery(new(session), &protocol.Frame{N: 1, Text: []byte("one\ntwo\nthree\n"),
		Runs: []protocol.Run{{Generation: 1, Offset: 50, Length: 8}, {Generation: 2, Offset: 0, Length: 6}}})
	var got []string
	for i, line := range d.Lines() {
		got = append(got, fmt.Sprintf("%d %s %s", i, line.ID, line.Text))
	}
	if want := "0 1:50 one,1 1:54 two,2 2:0 three"; strings.Join(got, ",") != want || d.Len() != 3 {
		t.Errorf("%d lines are %q, want %s", d.Len(), got, want)
	}
	for _, x := range [][2]int{{-1, 1}, {0, 4}, {1, 1}, {2, 1}} {
		if err := d.Ack(x[0], x[1]); err == nil {
			t.Errorf("lines %d to %d of 3 were acknowledged", x[0], x[1])
		}
	}
}

// TestRefused: a worker that is refused at first ends with the reason. One that was
// welcomed before connects again, at growing intervals.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &Worker{Handle: func(context.Context, *Delivery) error { return nil }}
		c, _, ended := start(t, w)
		x := <-c.conns
		x.send(protocol.Frame{Kind: protocol.KindFault, Reason: "\x1b[2Jno such group"})
		var refused *RefusedError
		if err := <-ended; !errors.As(err, &refused) || !strings.Contains(err.Error(), "#033[2Jno such group") {
			t.Errorf("the worker ended with %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := &Worker{Handle: func(context.Context, *Delivery) error { return nil }}
		c, stop, ended := start(t, w)
		c.welcome().send(protocol.Frame{Kind: protocol.KindFault, Reason: "the group was removed"})
		begun := time.Now()
		for range 20 {
			(<-c.conns).send(protocol.Frame{Kind: protocol.KindFault, Reason: "too many workers"})
		}
		if took := time.Since(begun); took < 5*longestPause || took > 20*2*longestPause {
			t.Errorf("20 attempts took %v", took)
		}
		x := c.welcome()
		x.deliver(1, "one")
		x.want("ack 1 0-1")
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestNoWelcome: whatever else answers is named, and the worker tries again.
func TestNoWelcome(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(x *conn)
		want   string
	}{
		"silence":       {func(x *conn) {}, "no welcome from"},
		"another frame": {func(x *conn) { x.send(protocol.Frame{Kind: protocol.KindDrain}) }, `it answers "drain"`},
		"another text":  {func(x *conn) { x.write([]byte("HTTP/1.1 400 Bad Request\r\n")) }, "no welcome from"},
		"the end":       {func(x *conn) { x.nc.Close() }, "no welcome from"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &Worker{Handle: func(context.Context, *Delivery) error { return nil }, Address: "addr"}
				ours, theirs := net.Pipe()
				defer ours.Close()
				go func() { // ends with the connection
					protocol.NewReader(ours, 4096).Hello()
					c.answer(&conn{t: t, nc: ours})
				}()
				w.Dial = func(context.Context) (net.Conn, error) { return theirs, nil }
				if _, err := w.connect(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("the connection ended with %v, want %q", err, c.want)
				}
			})
		})
	}
}

// TestKey: with a key, a worker that returned a line starts nothing before the collector
// has confirmed that, and not what the collector has taken back.
func TestKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var handled []uint64
		w := &Worker{Options: protocol.Hello{Key: "source"}, Handle: func(_ context.Context, d *Delivery) error {
			handled = append(handled, d.N)
			if d.N == 1 {
				return d.Nack(0, 1, "no")
			}
			return nil
		}}
		c, _, _ := start(t, w)
		x := c.welcome()
		x.deliver(1, "one")
		x.want("nack 1 0-1 no")
		x.deliver(2, "two")
		x.deliver(3, "three")
		time.Sleep(time.Hour)
		synctest.Wait()
		if fmt.Sprint(handled) != "[1]" {
			t.Errorf("before the confirmation deliveries %v were handled", handled)
		}
		x.send(protocol.Frame{Kind: protocol.KindLost, N: 2, From: 0, To: 1, Reason: "an earlier line"})
		x.send(protocol.Frame{Kind: protocol.KindLost, N: 1, From: 0, To: 1, Reason: "returned"})
		x.want("ack 3 0-1")
		if fmt.Sprint(handled) != "[1 3]" {
			t.Errorf("deliveries %v were handled, want 1 and 3", handled)
		}
	})
}

// TestTakenBack: what the collector takes back while Handle is busy is not started, however much came before.
func TestTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var handled []uint64
		w := &Worker{Handle: func(_ context.Context, d *Delivery) error {
			handled = append(handled, d.N)
			time.Sleep(time.Hour)
			return nil
		}}
		c, _, _ := start(t, w)
		x := c.welcome()
		for n := range uint64(9) {
			x.deliver(n+1, "a line")
		}
		for n := range uint64(7) {
			x.send(protocol.Frame{Kind: protocol.KindLost, N: n + 2, From: 0, To: 1, Reason: "the lease ended"})
		}
		x.want("ack 1 0-1", "ack 9 0-1")
		if fmt.Sprint(handled) != "[1 9]" {
			t.Errorf("deliveries %v were handled, want 1 and 9", handled)
		}
	})
}

// TestWaitingBytes: a worker reads no more while very much waits for it, and goes on then.
func TestWaitingBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int64
		c, _, _ := start(t, &Worker{Handle: func(context.Context, *Delivery) error {
			time.Sleep(time.Hour)
			return nil
		}})
		x := c.welcome()
		const all, bytes = 12, mostWaiting / 4
		go func() { // ends with the deliveries
			for n := range uint64(all) {
				x.deliver(n+1, strings.Repeat("x", bytes))
				sent.Add(1)
			}
		}()
		synctest.Wait()
		if n := sent.Load(); n > 6 {
			t.Errorf("the worker has read %d deliveries of %d bytes each, the bound is %d", n, bytes, mostWaiting)
		}
		for n := range all {
			x.want(fmt.Sprintf("ack %d 0-1", n+1))
		}
	})
}

// TestStop: a worker that stops lets Handle finish, and returns what it has not started.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := make(chan struct{})
		w := &Worker{Handle: func(ctx context.Context, d *Delivery) error {
			close(started)
			<-ctx.Done()
			time.Sleep(time.Minute) // it finishes
			return nil
		}}
		c, stop, ended := start(t, w)
		x := c.welcome()
		x.deliver(1, "one")
		<-started
		x.deliver(2, "two")
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		x.want("ack 1 0-1", "credit 0", "release 2 0-1", "the end")
	})
}

// TestHold: a lease is touched three times within its time, until stop or the limit.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &Worker{Handle: func(_ context.Context, d *Delivery) error {
			limit := time.Hour
			if d.N == 2 {
				limit = lease
			}
			stop := d.Hold(limit)
			time.Sleep(2*lease + time.Second)
			stop()
			time.Sleep(lease)
			return nil
		}}
		c, _, _ := start(t, w)
		x := c.welcome()
		for n, want := range map[uint64]int{1: 6, 2: 2} {
			x.deliver(n, "one")
			touches := 0
			for got := x.next(); got != fmt.Sprintf("ack %d 0-1", n); got = x.next() {
				if got != fmt.Sprintf("touch %d 0--1", n) {
					t.Fatalf("the worker sends %q", got)
				}
				touches++
			}
			if touches < want || touches > want+1 {
				t.Errorf("delivery %d was touched %d times, want %d", n, touches, want)
			}
		}
	})
}
