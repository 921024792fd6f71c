package distribute

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fanin/sink"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// raw is a worker that sends the frames that a test wants.
type raw struct {
	t  *testing.T
	nc net.Conn
	r  *protocol.Reader
}

func (b *bench) raw(h protocol.Hello) *raw {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	c := &raw{b.t, nc, protocol.NewReader(nc, 4096)}
	if _, err := nc.Write(protocol.AppendHello(nil, &h)); err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (c *raw) say(f protocol.Frame) {
	c.t.Helper()
	if _, err := c.nc.Write(protocol.AppendFrame(nil, &f)); err != nil {
		c.t.Fatal(err)
	}
}

// hear returns the next frame of this kind; others may come before it.
func (c *raw) hear(kind protocol.Kind) protocol.Frame {
	c.t.Helper()
	for {
		f, err := c.r.Frame()
		if err != nil {
			c.t.Fatalf("waiting for %q: %v", kind, err)
		}
		if f.Kind == kind {
			return f
		}
		if f.Kind == protocol.KindFault {
			c.t.Fatalf("waiting for %q: %s", kind, f.Reason)
		}
	}
}

// TestNackAndDeadLetters: a line that fails is tried as often as configured, and then becomes
// a dead letter, alone, with the reason. Its neighbours are accepted.
func TestNackAndDeadLetters(t *testing.T) {
	b := openNew(t, Settings{Attempts: 3})
	b.putMany(0, 500)
	var l tally
	attempts := make(chan int, 100)
	stop := b.work(&worker.Worker{Options: protocol.Hello{Group: "g", From: "start", Name: "w"}, Handle: func(_ context.Context, d *worker.Delivery) error {
		if bytes.Contains(d.Text, []byte(": line 77\n")) {
			attempts <- d.Attempt
			return fmt.Errorf("cannot do %d lines", d.Len())
		}
		l.note(b, d)
		return nil
	}})
	g := b.done("g")
	stop()
	close(attempts)
	var saw []int
	for n := range attempts {
		saw = append(saw, n)
	}
	if fmt.Sprint(saw) != "[1 2 3]" || g.Dead == 0 {
		t.Errorf("attempts %v, group %+v", saw, g)
	}
	text, err := os.ReadFile(g.DeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	dead := make(map[string]bool)
	for line := range bytes.Lines(text) {
		var d deadLetter
		if err := json.Unmarshal(line, &d); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if dead[d.Position] || d.Attempts != 3 || d.Worker != "w" || !strings.HasPrefix(d.Reason, "cannot do") {
			t.Errorf("%s", line)
		}
		dead[d.Position] = true
		l.got = append(l.got, string(b.sink.Parts([]byte(d.Line)).Body))
	}
	if uint64(len(dead)) != g.Dead || len(dead) > 16 {
		t.Errorf("%d dead letters, and the group counts %d", len(dead), g.Dead)
	}
	expect(t, l.lines(), 500)
}

// TestRetry: a line that failed waits longer each time, and others do not wait for it.
func TestRetry(t *testing.T) {
	b := openNew(t, Settings{Retry: 200 * time.Millisecond, Attempts: 4})
	b.putMany(0, 1)
	var mu sync.Mutex
	var tried []time.Time
	done := make(chan struct{})
	b.work(&worker.Worker{Options: protocol.Hello{Group: "g", From: "start", Credit: 1}, Handle: func(_ context.Context, d *worker.Delivery) error {
		if bytes.Contains(d.Text, []byte(": line 0\n")) {
			mu.Lock()
			tried = append(tried, time.Now())
			mu.Unlock()
			return errors.New("not yet")
		}
		if bytes.Contains(d.Text, []byte(": line 9\n")) {
			close(done)
		}
		return nil
	}})
	b.wait("the first try", func() bool { mu.Lock(); defer mu.Unlock(); return len(tried) > 0 })
	b.putMany(1, 10)
	<-done
	mu.Lock()
	if len(tried) != 1 {
		t.Errorf("others waited for %d tries", len(tried))
	}
	mu.Unlock()
	if g := b.done("g"); g.Dead != 1 {
		t.Errorf("%+v", g)
	}
	for i, least := range []time.Duration{200, 400, 800} {
		if got := tried[i+1].Sub(tried[i]); got < least*time.Millisecond {
			t.Errorf("try %d came after %s", i+2, got)
		}
	}
}

// TestLease: lines of a worker that does not answer go to another worker, and later answers
// do not count.
func TestLease(t *testing.T) {
	b := openNew(t, Settings{})
	b.putMany(0, 10)
	c := b.raw(protocol.Hello{Group: "g", From: "start", Credit: 10, Lease: 300 * time.Millisecond})
	f := c.hear(protocol.KindLines)
	if f.Attempt != 1 {
		t.Errorf("attempt %d", f.Attempt)
	}
	lost := c.hear(protocol.KindLost)
	if lost.N != f.N || lost.From != 0 || lost.To != 10 {
		t.Errorf("lost %+v", lost)
	}
	var l tally
	attempt := 0
	b.work(&worker.Worker{Options: protocol.Hello{Group: "g"}, Handle: func(_ context.Context, d *worker.Delivery) error {
		l.note(b, d)
		attempt = d.Attempt
		return nil
	}})
	g := b.done("g")
	c.say(protocol.Frame{Kind: protocol.KindAck, N: f.N, To: -1})
	if late := c.hear(protocol.KindLost); late.N != f.N {
		t.Errorf("a late answer is answered %+v", late)
	}
	expect(t, l.lines(), 10)
	if after := b.group("g"); after.Accepted != 10 || g.Redelivered != 10 || attempt != 2 {
		t.Errorf("%+v, attempt %d", after, attempt)
	}
	// It spoke, so it is given lines again.
	c.say(protocol.Frame{Kind: protocol.KindCredit, Credit: 5})
	b.wait("both to be given lines", func() bool {
		b.putMany(10, 20)
		for _, w := range b.dist.Workers() {
			if w.Suspended || w.Handed == 0 {
				return false
			}
		}
		return true
	})
}

// TestTouch keeps a lease alive.
func TestTouch(t *testing.T) {
	b := openNew(t, Settings{})
	b.putMany(0, 1)
	c := b.raw(protocol.Hello{Group: "g", From: "start", Lease: 600 * time.Millisecond})
	f := c.hear(protocol.KindLines)
	for range 10 {
		time.Sleep(200 * time.Millisecond) // a worker that takes its time is what is tested
		c.say(protocol.Frame{Kind: protocol.KindTouch, N: f.N})
	}
	c.say(protocol.Frame{Kind: protocol.KindAck, N: f.N, To: -1})
	if a := c.hear(protocol.KindAccepted); a.N != f.N || a.From != 0 || a.To != 1 {
		t.Errorf("%+v", a)
	}
	if g := b.group("g"); g.Redelivered != 0 || g.Accepted != 1 {
		t.Errorf("%+v", g)
	}
}

// TestPartialAnswers: each line of a delivery can have its own answer.
func TestPartialAnswers(t *testing.T) {
	b := openNew(t, Settings{})
	b.putMany(0, 10)
	c := b.raw(protocol.Hello{Group: "g", From: "start"})
	f := c.hear(protocol.KindLines)
	c.say(protocol.Frame{Kind: protocol.KindAck, N: f.N, From: 0, To: 3})
	c.say(protocol.Frame{Kind: protocol.KindAck, N: f.N, From: 5, To: 6})
	c.say(protocol.Frame{Kind: protocol.KindAck, N: f.N, From: 2, To: 4})
	c.say(protocol.Frame{Kind: protocol.KindNack, N: f.N, From: 9, To: 10, Reason: "no"})
	again := c.hear(protocol.KindLines)
	if !strings.HasSuffix(string(again.Text), ": line 9\n") || again.Attempt != 2 || len(again.Runs) != 1 {
		t.Errorf("line 9 was nacked, and this came: %+v", again)
	}
	c.say(protocol.Frame{Kind: protocol.KindRelease, N: f.N, From: 7, To: 9})
	again = c.hear(protocol.KindLines)
	if strings.Count(string(again.Text), "\n") != 2 || again.Attempt != 1 || !strings.Contains(string(again.Text), ": line 7\n") {
		t.Errorf("lines 7 and 8 were released, and this came: %+v", again)
	}
	b.wait("the answers", func() bool { return b.group("g").Accepted == 5 })
	g := b.group("g")
	if g.InFlight != 5 || g.LagLines != 5 || g.Waiting != 0 {
		t.Errorf("%+v", g)
	}
	c.nc.Close()
	var l tally
	b.work(&worker.Worker{Options: protocol.Hello{Group: "g"}, Handle: func(_ context.Context, d *worker.Delivery) error {
		l.note(b, d)
		return nil
	}})
	b.done("g")
	got := l.lines()
	for _, i := range []int{4, 6, 7, 8, 9} {
		if !strings.Contains(strings.Join(got, "|")+"|", fmt.Sprintf("line %d|", i)) {
			t.Errorf("line %d is missing in %q", i, got)
		}
	}
	if len(got) != 5 {
		t.Errorf("got %q", got)
	}
}

// TestAcceptedSurvives: after the collector was killed, lines that a worker was told are
// accepted are never handed out again, and all others are.
func TestAcceptedSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.log")
	b := open(t, path, &sink.Sink{Sync: "commit", Retention: sink.RetentionPolicy{Compress: "none"}}, Settings{})
	b.putMany(0, 100)
	c := b.raw(protocol.Hello{Group: "g", From: "start"})
	f := c.hear(protocol.KindLines)
	c.say(protocol.Frame{Kind: protocol.KindAck, N: f.N, From: 10, To: 30})
	if a := c.hear(protocol.KindAccepted); a.From != 10 || a.To != 30 {
		t.Fatalf("accepted %+v", a)
	}
	// What a kill leaves: the groups as they are saved now.
	work := filepath.Join(sink.StateDir(path), workDir)
	left := copyDir(t, work)
	b.down()
	os.RemoveAll(work)
	if err := os.Rename(left, work); err != nil {
		t.Fatal(err)
	}
	b = open(t, path, &sink.Sink{Sync: "commit", Retention: sink.RetentionPolicy{Compress: "none"}}, Settings{})
	if g := b.group("g"); g.LagLines != 80 || g.Accepted != 20 {
		t.Errorf("after a start: %+v", g)
	}
	var l tally
	b.work(&worker.Worker{Options: protocol.Hello{Group: "g"}, Handle: func(_ context.Context, d *worker.Delivery) error {
		l.note(b, d)
		return nil
	}})
	b.done("g")
	got := l.lines()
	for i := 10; i < 30; i++ {
		got = append(got, fmt.Sprintf("line %d", i))
	}
	expect(t, got, 100)
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestDeadLettersOnce: after a crash between the write of the dead letters and the save
// that forgets them, each is in the file once, complete.
func TestDeadLettersOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.log")
	b := open(t, path, &sink.Sink{Sync: "none", Retention: sink.RetentionPolicy{Compress: "none"}}, Settings{})
	b.putMany(0, 3)
	b.wait("the lines", func() bool { return b.sink.End().Offset > 0 })
	end, id := b.sink.End(), b.sink.LogID()
	b.down()
	work := filepath.Join(sink.StateDir(path), workDir)
	dead := filepath.Join(work, "dead-g.jsonl")
	before := `{"position":"0:0","line":"an older one"}` + "\n"
	written := `{"position":"1:0","line":"it was written"}` + "\n" + `{"position":"1:45","li`
	if err := os.WriteFile(dead, []byte(before+written), 0o640); err != nil {
		t.Fatal(err)
	}
	s := saved{name: "g", next: end, dead: []*deadSpan{{span: span{1, 0, end.Offset, 3, 8}, Reason: "no", Worker: "w", Time: time.Now()}}, deadEnd: int64(len(before))}
	if err := os.WriteFile(filepath.Join(work, "cursors-0"), encodeCursors(1000, id, s.append([]byte{0x91})), 0o640); err != nil {
		t.Fatal(err)
	}
	b = open(t, path, &sink.Sink{Sync: "none", Retention: sink.RetentionPolicy{Compress: "none"}}, Settings{})
	b.wait("the dead letters", func() bool { return b.group("g").Dead == 3 })
	text, err := os.ReadFile(dead)
	if err != nil || !strings.HasPrefix(string(text), before) || bytes.Count(text, []byte{'\n'}) != 4 || bytes.Contains(text, []byte("it was written")) {
		t.Errorf("%v:\n%s", err, text)
	}
	for line := range bytes.Lines(text) {
		if !json.Valid(line) {
			t.Errorf("%q", line)
		}
	}
}

// TestFilter: a group receives the lines that match its filter; the others are finished.
func TestFilter(t *testing.T) {
	b := openNew(t, Settings{})
	for i := range 50 {
		b.put(fmt.Sprintf("web-%d", i%3), []string{"nginx", "app"}[i%2], fmt.Sprintf("line %d status=%d", i, 200+i))
	}
	var l tally
	b.work(&worker.Worker{Options: protocol.Hello{Group: "g", From: "start", Host: []string{"web-1", "web-2"}, Source: []string{"ng*"}, Include: []string{"status=2[0-3]"}, Exclude: []string{"line 8 "}},
		Handle: func(_ context.Context, d *worker.Delivery) error { l.note(b, d); return nil }})
	b.done("g")
	var want []string
	for i := range 50 {
		if i%3 > 0 && i%2 == 0 && i < 40 && i != 8 {
			want = append(want, fmt.Sprintf("line %d status=%d", i, 200+i))
		}
	}
	if got := l.lines(); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestExpired: lines that retention removes before a group had them are counted exactly and
// reported in the log. With keep_for_groups, retention waits.
func TestExpired(t *testing.T) {
	for _, hold := range []int64{0, 1 << 30} {
		path := filepath.Join(t.TempDir(), "all.log")
		b := open(t, path, &sink.Sink{Sync: "none", Retention: sink.RetentionPolicy{Compress: "none", Files: 1, HoldBytes: hold}}, Settings{})
		b.putMany(0, 250)
		c := b.raw(protocol.Hello{Group: "g", From: "start", Credit: 50, Batch: 50})
		f := c.hear(protocol.KindLines)
		c.say(protocol.Frame{Kind: protocol.KindCredit, Credit: 0})
		c.say(protocol.Frame{Kind: protocol.KindAck, N: f.N, From: 0, To: 20})
		c.hear(protocol.KindAccepted)
		for i := 250; i < 1000; i += 250 {
			b.sink.Rotate(context.Background())
			b.putMany(i, i+250)
		}
		b.sink.Rotate(context.Background())
		if hold > 0 {
			b.wait("the janitor", func() bool { return len(b.sink.Status().Generations) == 5 })
			if g := b.group("g"); g.Expired != 0 || g.LagLines != 980 {
				t.Errorf("held: %+v", g)
			}
			continue
		}
		b.wait("the janitor", func() bool { return b.group("g").Expired > 0 && len(b.sink.Status().Generations) == 2 })
		// The newest file's 250 and the 30 in flight are left. Notices are lines too,
		// and come when they come.
		b.wait("the sum", func() bool { g := b.group("g"); return g.Expired+20+g.LagLines == b.sink.Status().Lines })
		g := b.group("g")
		if g.Expired < 700 || g.InFlight != 30 {
			t.Errorf("expired: %+v", g)
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), "EXPIRED group=g lines=") {
			t.Errorf("the log says %q, %v", text, err)
		}
		c.say(protocol.Frame{Kind: protocol.KindNack, N: f.N, From: 20, To: 50, Reason: "no"})
		b.wait("the nack", func() bool { return b.group("g").InFlight == 0 })
		c.nc.Close()
		b.work(&worker.Worker{Options: protocol.Hello{Group: "g"}, Handle: func(context.Context, *worker.Delivery) error { return nil }})
		b.wait("the last line", func() bool { g := b.done("g"); return g.Expired+g.Accepted == b.sink.Status().Lines })
		if after := b.group("g"); after.Expired < g.Expired+30 {
			t.Errorf("30 more were given up: %+v", after)
		}
	}
}

// TestMovedAway: lines that have to go out again while their file is being renamed are
// handed out after that, and not abandoned.
func TestMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.log")
	b := open(t, path, &sink.Sink{Sync: "none", Retention: sink.RetentionPolicy{Compress: "none"}}, Settings{})
	b.putMany(0, 100)
	c := b.raw(protocol.Hello{Group: "g", From: "start", Credit: 100})
	had := 0
	var numbers []uint64
	for had < 100 {
		f := c.hear(protocol.KindLines)
		had += bytes.Count(f.Text, []byte{'\n'})
		numbers = append(numbers, f.N)
	}
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	for _, n := range numbers {
		c.say(protocol.Frame{Kind: protocol.KindRelease, N: n, From: 0, To: 1})
	}
	for range numbers {
		c.hear(protocol.KindLines)
	}
	if g := b.group("g"); g.Expired != 0 {
		t.Errorf("%+v", g)
	}
}

// TestWeight: of workers with room, the one with more weight receives more lines.
func TestWeight(t *testing.T) {
	b := openNew(t, Settings{})
	light := b.raw(protocol.Hello{Group: "g", From: "start", Name: "light", Credit: 10_000})
	light.hear(protocol.KindWelcome)
	heavy := b.raw(protocol.Hello{Group: "g", Name: "heavy", Credit: 10_000, Weight: 4})
	heavy.hear(protocol.KindWelcome)
	for _, c := range []*raw{light, heavy} {
		go func() { // ends with the connection
			for {
				if _, err := c.r.Frame(); err != nil {
					return
				}
			}
		}()
	}
	b.wait("both", func() bool { return len(b.dist.Workers()) == 2 })
	handed := make(map[string]uint64)
	for i := 0; i < 2000; i += 100 { // so that both have room for all of it
		b.putMany(i, i+100)
		b.wait("the lines", func() bool {
			sum := 0
			for _, w := range b.dist.Workers() {
				handed[w.Name] = w.Handed
				sum += int(w.Handed)
			}
			return sum == i+100
		})
	}
	if handed["heavy"] < 3*handed["light"] || handed["light"] < 200 {
		t.Errorf("weights 4 and 1, lines %v", handed)
	}
}

// TestReplay moves a group. Answers to lines in flight do not count.
func TestReplay(t *testing.T) {
	b := openNew(t, Settings{})
	b.putMany(0, 100)
	c := b.raw(protocol.Hello{Group: "g", From: "start", Credit: 40, Batch: 40})
	f := c.hear(protocol.KindLines)
	c.say(protocol.Frame{Kind: protocol.KindAck, N: f.N, From: 0, To: 20})
	c.hear(protocol.KindAccepted)
	if _, err := b.dist.Replay(context.Background(), "g", "start"); err != nil {
		t.Fatal(err)
	}
	if lost := c.hear(protocol.KindLost); lost.N != f.N {
		t.Errorf("lost %+v", lost)
	}
	c.nc.Close()
	var l tally
	stop := b.work(&worker.Worker{Options: protocol.Hello{Group: "g"}, Handle: func(_ context.Context, d *worker.Delivery) error { l.note(b, d); return nil }})
	b.done("g")
	expect(t, l.lines(), 100)
	if _, err := b.dist.Replay(context.Background(), "unknown", "start"); !errors.Is(err, ErrNoGroup) {
		t.Errorf("an unknown group: %v", err)
	}
	if _, err := b.dist.Replay(context.Background(), "g", "99:0"); !errors.Is(err, sink.ErrNoPosition) {
		t.Errorf("an unknown place: %v", err)
	}
	stop() // a worker that comes back makes the group anew
	if err := b.dist.Forget(context.Background(), "g"); err != nil {
		t.Fatal(err)
	}
	if b.group("g").Group != "" {
		t.Error("a group that was forgotten is still there")
	}
}

// TestTouchFollowing: while a worker touches a delivery, the leases of those behind it, which
// wait for it, do not end either.
func TestTouchFollowing(t *testing.T) {
	b := openNew(t, Settings{Lease: 5 * leastLease, Attempts: 2})
	var took tally
	first := true
	b.work(&worker.Worker{Options: protocol.Hello{Group: "g", From: "start", Batch: 10, Credit: 50},
		Handle: func(ctx context.Context, d *worker.Delivery) error {
			took.note(b, d)
			if first {
				first = false
				defer d.Hold(time.Minute)()
				time.Sleep(15 * leastLease)
			}
			return nil
		}})
	b.putMany(0, 200)
	if g := b.done("g"); g.Redelivered+g.Dead > 0 || len(took.lines()) != 200 {
		t.Errorf("the group is %+v, and %d lines were handed out", g, len(took.lines()))
	}
}
