package carry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fanin/sink/distribute/protocol"
)

// lease is what the distributor of these tests grants.
const lease = 30 * time.Second

// distributor is the other side of a loop: it sends deliveries and notes the answers.
type distributor struct {
	t    *testing.T
	conn net.Conn
	in   *protocol.Reader

	mu      sync.Mutex
	answers []protocol.Frame
	last    time.Time     // of the last answer of any kind
	longest time.Duration // between two of them
}

// start runs a loop against a distributor until stop, which the test's end calls.
func start(t *testing.T, l *Loop) (d *distributor, stop func()) {
	t.Helper()
	ours, theirs := net.Pipe()
	d = &distributor{t: t, conn: ours, in: protocol.NewReader(ours, 4096)}
	dialled := false
	l.Dial = func(context.Context) (net.Conn, error) {
		if dialled {
			return nil, errors.New("one connection only")
		}
		dialled = true
		return theirs, nil
	}
	l.Options.Group, l.Target = "g", "target"
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { // ends by stop
		if err := l.Run(ctx); err != nil {
			t.Errorf("the loop ended with %v", err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		ours.Close()
	})
	t.Cleanup(stop)
	if _, err := d.in.Hello(); err != nil {
		t.Fatal(err)
	}
	d.write(protocol.AppendWelcome(nil, &protocol.Welcome{Group: "g", Lease: lease}))
	go d.read() // ends with the connection
	return d, stop
}

func (d *distributor) write(b []byte) {
	d.t.Helper()
	if _, err := d.conn.Write(b); err != nil {
		d.t.Fatal(err)
	}
}

func (d *distributor) read() {
	for {
		f, err := d.in.Frame()
		if err != nil {
			return
		}
		d.mu.Lock()
		now := time.Now()
		d.longest = max(d.longest, now.Sub(d.last))
		d.last = now
		if f.Kind != protocol.KindTouch && f.Kind != protocol.KindCredit {
			d.answers = append(d.answers, f)
		}
		d.mu.Unlock()
	}
}

// deliver sends lines as delivery n.
func (d *distributor) deliver(n uint64, attempt int, lines ...string) {
	d.t.Helper()
	d.mu.Lock()
	d.last = time.Now()
	d.mu.Unlock()
	text := []byte(strings.Join(lines, "\n") + "\n")
	d.write(protocol.AppendFrame(nil, &protocol.Frame{Kind: protocol.KindLines, N: n, Attempt: attempt, Text: text,
		Runs: []protocol.Run{{Generation: 1, Length: int64(len(text))}}}))
}

// answered returns the answers so far in a short form, in the order of the lines.
func (d *distributor) answered() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []string
	for _, f := range d.answers {
		list = append(list, strings.TrimSpace(fmt.Sprintf("%d:%d-%d %s %s", f.N, f.From, f.To, f.Kind, f.Reason)))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// target is the other end of the loop: send decides what becomes of each line.
type target struct {
	mu    sync.Mutex
	sent  []string
	tries int
	send  func(try int, l *Line) error
}

func (x *target) Send(_ context.Context, lines []Line) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tries++
	for i := range lines {
		x.sent = append(x.sent, string(lines[i].Text))
		if err := x.send(x.tries, &lines[i]); err != nil {
			return err
		}
	}
	return nil
}

// conserved checks that every line that was received has one outcome.
func conserved(t *testing.T, l *Loop, want Counts) {
	t.Helper()
	got := l.Counts()
	if got != want {
		t.Errorf("the counts are %+v, want %+v", got, want)
	}
	if got.Received != got.Carried+got.Rejected+got.Released {
		t.Errorf("%d lines were received, and %d have an outcome: %+v", got.Received,
			got.Carried+got.Rejected+got.Released, got)
	}
}

// TestCarry: lines are sent until each is carried or rejected. Only those without an
// outcome are sent again, in their order.
func TestCarry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &target{send: func(try int, l *Line) error {
			switch text := string(l.Text); {
			case text == "bad":
				l.Reject("too long")
			case try == 1 && (text == "two" || text == "five"):
				l.Unknown()
			default:
				l.Carried()
			}
			return nil
		}}
		l := &Loop{Send: x.Send, Window: func() time.Duration { return time.Minute }}
		d, stop := start(t, l)
		d.deliver(1, 2, "one", "two", "bad", "four", "five")
		synctest.Wait()
		if got, want := d.answered(), "1:0-1 ack, 1:2-3 nack too long, 1:3-4 ack"; got != want {
			t.Errorf("after one attempt the answers are %q, want %q", got, want)
		}
		time.Sleep(firstPause)
		synctest.Wait()
		if got, want := d.answered(), "1:0-1 ack, 1:1-2 ack, 1:2-3 nack too long, 1:3-4 ack, 1:4-5 ack"; got != want {
			t.Errorf("in the end the answers are %q, want %q", got, want)
		}
		if got, want := strings.Join(x.sent, " "), "one two bad four five two five"; got != want {
			t.Errorf("sent were %q, want %q", got, want)
		}
		stop()
		conserved(t, l, Counts{Received: 5, Carried: 4, Rejected: 1, Again: 5})
	})
}

// TestTargetAway: while the target is away the lease is kept, the trouble is known, the
// pauses grow, and no line is reported as failed.
func TestTargetAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(10 * time.Minute)
		x := &target{send: func(_ int, l *Line) error {
			if time.Now().Before(back) {
				return errors.New("the target is away")
			}
			l.Carried()
			return nil
		}}
		l := &Loop{Send: x.Send, Window: func() time.Duration { return time.Hour }}
		d, stop := start(t, l)
		d.deliver(1, 1, "one", "two")
		synctest.Wait()
		if l.Trouble() != "the target is away" {
			t.Errorf("the trouble is %q", l.Trouble())
		}
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if got, want := d.answered(), "1:0-2 ack"; got != want {
			t.Errorf("the answers are %q, want %q", got, want)
		}
		if l.Trouble() != "" {
			t.Errorf("the trouble is %q, and the lines are carried", l.Trouble())
		}
		if d.longest >= lease {
			t.Errorf("for %v the loop did not touch its lease of %v", d.longest, lease)
		}
		if tries := x.tries; tries < int(10*time.Minute/longestPause) || tries > 10+int(10*time.Minute/longestPause) {
			t.Errorf("%d attempts in ten minutes, want one every %v in the end", tries, longestPause)
		}
		stop()
		conserved(t, l, Counts{Received: 2, Carried: 2})
	})
}

// TestSlowTarget: the lease is kept during one attempt, too, however long it takes.
func TestSlowTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &target{send: func(_ int, l *Line) error {
			time.Sleep(5 * lease)
			l.Carried()
			return nil
		}}
		l := &Loop{Send: x.Send}
		d, stop := start(t, l)
		d.deliver(1, 1, "one")
		time.Sleep(6 * lease)
		synctest.Wait()
		if got, want := d.answered(), "1:0-1 ack"; got != want || d.longest >= lease {
			t.Errorf("the answers are %q after a silence of %v, want %q", got, d.longest, want)
		}
		stop()
		conserved(t, l, Counts{Received: 1, Carried: 1})
	})
}

// TestUnsure: what may be at the target twice is counted. Without a window that is what
// is sent again after an unknown outcome; with a window, what is left when it has passed.
func TestUnsure(t *testing.T) {
	send := func(try int, l *Line) error {
		switch text := string(l.Text); {
		case text == "one" || try == 10: // after 21.3 s
			l.Carried()
		case text == "two" && try <= 2:
			l.Unknown()
		case text == "three":
			return errors.New("the target is away") // and this line is not sent
		}
		return nil
	}
	for name, c := range map[string]struct {
		window func() time.Duration
		unsure uint64
	}{
		"no window":        {nil, 2}, // two, after two attempts
		"a long window":    {func() time.Duration { return time.Minute }, 0},
		"a window passed":  {func() time.Duration { return 7 * time.Second }, 2 + 2}, // both, after 11.3 s and 21.3 s
		"passed each time": {func() time.Duration { return firstPause - 1 }, 9 * 2},
		"a window of 0":    {func() time.Duration { return 0 * time.Second }, 2}, // as none
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &target{send: send}
				l := &Loop{Send: x.Send, Window: c.window}
				d, stop := start(t, l)
				d.deliver(1, 1, "one", "two", "three")
				time.Sleep(time.Minute)
				synctest.Wait()
				if got, want := d.answered(), "1:0-1 ack, 1:1-3 ack"; got != want {
					t.Errorf("the answers are %q, want %q", got, want)
				}
				stop()
				conserved(t, l, Counts{Received: 3, Carried: 3, Unsure: c.unsure})
			})
		})
	}
}

// TestShutdown: lines without an outcome are released at once, and those that are carried
// have been acknowledged.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &target{send: func(_ int, l *Line) error {
			if string(l.Text) != "two" {
				return errors.New("the target is away")
			}
			l.Carried()
			return nil
		}}
		l := &Loop{Send: x.Send}
		d, stop := start(t, l)
		d.deliver(1, 1, "two", "three", "four")
		time.Sleep(longestPause)
		begun := time.Now()
		stop()
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the loop stopped after %v", took)
		}
		if got, want := d.answered(), "1:0-1 ack, 1:1-3 release"; got != want {
			t.Errorf("the answers are %q, want %q", got, want)
		}
		conserved(t, l, Counts{Received: 3, Carried: 1, Released: 2})
	})
}
