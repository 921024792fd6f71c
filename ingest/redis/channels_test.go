package redis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/internal/redisconn"
	"fanin/internal/redistest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// listening is an input that receives channels.
type listening struct {
	*Input
	s    *redistest.Server
	out  *ingesttest.Recorder
	stop func()

	mu      sync.Mutex
	notices []string
}

// listen receives channels until the test ends.
func listen(t *testing.T, s *redistest.Server, change func(*Input), names ...string) *listening {
	t.Helper()
	x := &listening{s: s, out: ingesttest.NewRecorder()}
	x.Input = &Input{Client: s.Client(), Out: x.out, Channels: ChannelOptions{Names: names}, Notice: x.note}
	if change != nil {
		change(x.Input)
	}
	served := make(chan error, 1)
	go func() { served <- x.Serve() }() // ended by stop
	x.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := x.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != ingest.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(x.stop)
	x.healthy(t)
	return x
}

func (x *listening) note(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.notices = append(x.notices, fmt.Sprintf(format, args...))
}

// noted sums up the n= of the notices with a reason.
func (x *listening) noted(reason string) (sum int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	of := regexp.MustCompile(` n=(\d+) .*reason=` + reason + ":")
	for _, text := range x.notices {
		if m := of.FindStringSubmatch(text); m != nil {
			n, _ := strconv.Atoi(m[1])
			sum += n
		}
	}
	return sum
}

func (x *listening) healthy(t *testing.T) {
	t.Helper()
	waittest.UntilEqual(t, "the trouble", "", x.Trouble)
}

// counts are the lines of the input.
func (x *listening) counts() (received, written, dropped uint64) {
	n := x.Inputs.Of("redis").Counts()
	return n.Received, n.Written, n.Dropped
}

// lines are what is recorded, each line with its source.
func (x *listening) lines(t *testing.T, n int) (all []string) {
	t.Helper()
	_, batches := x.out.Wait(t, func(text string, _ []wire.Batch) bool { return strings.Count(text, "\n") >= n })
	for _, b := range batches {
		source, marks, at := "", b.Marks, 0
		for line := range strings.Lines(string(b.Text)) {
			for len(marks) > 0 && marks[0].Text <= at {
				source, marks = marks[0].Labels.Source, marks[1:]
			}
			if len(b.Marks) == 0 {
				source = b.Source
			}
			at += len(line)
			all = append(all, source+": "+strings.TrimSuffix(line, "\n"))
		}
	}
	return all
}

// TestChannels: what becomes a line, and under which source; a message that matches several
// subscriptions comes once.
func TestChannels(t *testing.T) {
	s := redistest.New(t)
	x := listen(t, s, func(n *Input) { n.Lines.MaxLine = 256 }, "app", "logs.*", "log?.a", "fanin")
	for _, m := range [][2]string{
		{"app", "plain"}, {"app", "with its end\n"}, {"app", "two\nlines"}, {"app", ""}, {"app", "\n"},
		{"app", "blank\n\nbetween\n"}, {"logs.a", "matches twice"}, {"logs.b", "matches once"}, {"logs.\x1b[31m", "odd name"},
		{"fanin", "the log's own name"}, {"app", "bin\x00ary\xff\x01"}, {"app", strings.Repeat("x", 300)}, {"other", "not mine"}, {"app", "last"},
	} {
		s.Do("PUBLISH", m[0], m[1])
	}
	want := []string{"app: plain", "app: with its end", "app: two", "app: lines", "app: blank", "app: ", "app: between",
		"logs.a: matches twice", "logs.b: matches once", "logs._[31m: odd name", "redis/fanin: the log's own name", "app: bin\x00ary\xff\x01"}
	got := x.lines(t, len(want)+3)
	for i, line := range want {
		if i >= len(got) || got[i] != line {
			t.Fatalf("line %d of\n%q, want\n%q", i, got, want)
		}
	}
	rest := got[len(want):]
	if len(rest) != 3 || !strings.HasPrefix(rest[0], "app: xxx") || rest[2] != "app: last" {
		t.Errorf("the end is %q", rest)
	}
	if n := testutil.ToFloat64(x.Metrics.messages["channel"]); n != 13 {
		t.Errorf("%v messages, want 13", n)
	}
	if n := testutil.ToFloat64(x.Metrics.empty); n != 2 {
		t.Errorf("%v empty messages, want 2", n)
	}
}

// TestChannelDrops: while the log does not take lines, messages wait up to the limit, and
// every one beyond it is counted and reported.
func TestChannelDrops(t *testing.T) {
	s := redistest.New(t)
	open := make(chan struct{})
	x := listen(t, s, func(n *Input) {
		n.Channels.Pending = 100_000
		out := n.Out.(*ingesttest.Recorder)
		out.Outcome = func(ctx context.Context, b wire.Batch) error {
			select {
			case <-open:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}, "app")
	const sent = 5000
	message := strings.Repeat("m", 99)
	publish(t, s, sent, message)
	waittest.UntilEqual(t, "messages", sent, func() int { return int(testutil.ToFloat64(x.Metrics.messages["channel"])) })
	close(open)
	x.stop()
	_, _, dropped := x.counts()
	text, _ := x.out.Wait(t, func(string, []wire.Batch) bool { return true })
	written := strings.Count(text, "\n")
	if written+int(dropped) != sent || dropped == 0 || written < 500 || x.noted("redis-slow") != int(dropped) {
		t.Errorf("%d were sent, %d written, %d dropped, %d reported", sent, written, dropped, x.noted("redis-slow"))
	}
	if n := testutil.ToFloat64(x.Metrics.dropped); int(n) != int(dropped) {
		t.Errorf("the metric is %v", n)
	}
}

// publish publishes n messages in one pipeline.
func publish(t *testing.T, s *redistest.Server, n int, message string) {
	t.Helper()
	conn, err := s.Client().Dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range n {
		conn.Command("PUBLISH", "app", message)
	}
	if err := conn.Send(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range n {
		if v, err := conn.Receive(t.Context(), 0); err != nil || redistest.Text(v) != "1" {
			t.Fatalf("%s subscribers, %v", redistest.Text(v), err)
		}
	}
}

// TestChannelDrain: what was published before the input drains is written.
func TestChannelDrain(t *testing.T) {
	s := redistest.New(t)
	x := listen(t, s, nil, "app", "logs.*")
	const sent = 20_000
	publish(t, s, sent, "message")
	x.stop()
	text, _ := x.out.Wait(t, func(string, []wire.Batch) bool { return true })
	if n := strings.Count(text, "\n"); n != sent {
		t.Errorf("%d of %d lines", n, sent)
	}
	if n := testutil.ToFloat64(x.Metrics.breaks); n != 0 {
		t.Errorf("the drain counted as %v breaks", n)
	}
}

// TestChannelBreaks: each break of a connection is counted and reported, whatever ends it,
// and the input comes back. An attempt that fails is no break.
func TestChannelBreaks(t *testing.T) {
	s := redistest.New(t)
	x := listen(t, s, nil, "app")
	breaks := func() int { return int(testutil.ToFloat64(x.Metrics.breaks)) }
	for i, cut := range []func(){
		func() { s.Do("CLIENT", "KILL", "TYPE", "pubsub") },
		func() { s.Kill(); s.Start() },
		func() { s.Stop(); s.Start() },
		func() { s.Do("CLIENT", "KILL", "TYPE", "pubsub") },
	} {
		cut()
		waittest.UntilEqual(t, "breaks", i+1, breaks)
		waittest.UntilEqual(t, "subscribers that had the message", "1", func() string { // without one it is gone
			return s.Do("PUBLISH", "app", fmt.Sprint("after ", i))
		})
		x.healthy(t)
		x.out.Wait(t, func(text string, _ []wire.Batch) bool { return strings.Contains(text, fmt.Sprint("after ", i)) })
	}
	x.stop()
	if got := x.noted("redis-away"); got != 4 || breaks() != 4 {
		t.Errorf("%d breaks were reported, %d counted, want 4", got, breaks())
	}
}

// TestChannelFrozen: a server that keeps the connection and says nothing is noticed.
func TestChannelFrozen(t *testing.T) {
	s := redistest.New(t)
	x := listen(t, s, func(n *Input) { n.Channels.Silence = 500 * time.Millisecond }, "app")
	s.Freeze()
	waittest.UntilEqual(t, "breaks", 1, func() int { return int(testutil.ToFloat64(x.Metrics.breaks)) })
	s.Thaw()
	x.healthy(t)
}

// TestChannelSilent: a connection on which nothing is published for long is kept.
func TestChannelSilent(t *testing.T) {
	s := redistest.New(t)
	x := listen(t, s, func(n *Input) { n.Channels.Silence = time.Second }, "app")
	s.Do("CONFIG", "RESETSTAT")
	waittest.Until(t, "two PINGs", func() bool { return strings.Contains(s.Do("INFO", "commandstats"), "cmdstat_ping:calls=2") })
	s.Do("PUBLISH", "app", "hello")
	x.lines(t, 1)
	if n := testutil.ToFloat64(x.Metrics.breaks); n != 0 {
		t.Errorf("%v breaks", n)
	}
}

// TestChannelLong: a message beyond max_message is skipped, counted and reported; the others
// come.
func TestChannelLong(t *testing.T) {
	s := redistest.New(t)
	x := listen(t, s, func(n *Input) { n.Client.MaxBulk = 1 << 10 }, "app")
	s.Do("PUBLISH", "app", strings.Repeat("x", 1<<10))
	s.Do("PUBLISH", "app", strings.Repeat("x", 1<<10+1))
	s.Do("PUBLISH", "app", strings.Repeat("x", 1<<20))
	s.Do("PUBLISH", "app", "last")
	if got := x.lines(t, 2); len(got) != 2 || got[1] != "app: last" {
		t.Errorf("%.40q", got)
	}
	x.stop()
	if received, _, dropped := x.counts(); received != 4 || dropped != 2 || x.noted("redis-long") != 2 || testutil.ToFloat64(x.Metrics.skipped) != 2 {
		t.Errorf("received %d, dropped %d, reported %d, skipped %v", received, dropped, x.noted("redis-long"), testutil.ToFloat64(x.Metrics.skipped))
	}
}

// TestChannelForbidden: what an ACL forbids is in the trouble, with what to do, and is tried
// again.
func TestChannelForbidden(t *testing.T) {
	s := redistest.New(t, "user default on nopass ~* resetchannels &app +@all")
	x := listen(t, s, nil, "app")
	y := &Input{Client: s.Client(), Out: x.out, Channels: ChannelOptions{Names: []string{"secret"}}}
	served := make(chan error, 1)
	go func() { served <- y.Serve() }() // ended below
	waittest.Until(t, "the trouble", func() bool {
		return strings.Contains(y.Trouble(), "NOPERM") && strings.Contains(y.Trouble(), "ACL SETUSER")
	})
	s.Do("ACL", "SETUSER", "default", "&secret")
	waittest.UntilEqual(t, "the trouble", "", y.Trouble)
	if n := testutil.ToFloat64(y.Metrics.breaks); n != 0 {
		t.Errorf("%v breaks of what was never subscribed to", n)
	}
	if err := y.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served
}

// TestOverlap: two patterns overlap if, and as far as the test knows only if, some channel
// matches both.
func TestOverlap(t *testing.T) {
	for _, row := range []struct {
		one, other string
		want       bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "ab", false}, {"", "", true}, {"", "*", true}, {"logs.*", "logs.web", true},
		{"logs.*", "log?.web", true}, {"logs.*", "other.*", false}, {"*.web", "logs.*", true}, {"a*c", "ab*", true}, {"a*c", "*b", false},
		{"*a*", "*b*", true}, {"???", "ab", false}, {"fanin.*", "fanin.*.*", true}, {`a\*`, "ab", false}, {`a\*`, "a*", true}, {"[ab]c", "bc", true},
		{"[ab]c", "bd", false}, {"**", "x", true},
	} {
		if Overlap(row.one, row.other) != row.want || Overlap(row.other, row.one) != row.want {
			t.Errorf("%q and %q: %v, want %v", row.one, row.other, !row.want, row.want)
		}
	}
	letters := []string{"a", "b", "*", "?", "[ab]", "[^a]"}
	var channels []string
	for i := range 3 * 3 * 3 * 3 {
		name := ""
		for n := i; n > 0; n /= 3 {
			name += [3]string{"", "a", "b"}[n%3]
		}
		channels = append(channels, name)
	}
	for range 5000 {
		var p [2]string
		for k := range p {
			for range rand.IntN(4) {
				p[k] += letters[rand.IntN(len(letters))]
			}
		}
		for _, c := range channels {
			if Matches(p[0], c) && Matches(p[1], c) && !Overlap(p[0], p[1]) {
				t.Fatalf("%q matches %q and %q, which do not overlap", c, p[0], p[1])
			}
		}
	}
}

// TestMatches: patterns match what a server says they match.
func TestMatches(t *testing.T) {
	s := redistest.New(t)
	conn, err := s.Client().Dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pairs := [][2]string{{"a*", "a"}, {"*a*", "banana"}, {"a**b", "ab"}, {"[a-c]x", "bx"}, {"[c-a]x", "bx"}, {"[^a-c]x", "bx"},
		{"[^a]", "b"}, {`\*`, "*"}, {`a\`, "a"}, {`a\`, `a\`}, {"[abc", "b"}, {"[", ""}, {"[]", "]"}, {`[\]]`, "]"}, {"?", "é"}, {"h[a-]o", "h-o"},
		{"[^", "a"}, {"a[", "a"}, {`[a\`, `\`}, {"*[b", "ab"}}
	random := func(letters string) string {
		b := make([]byte, rand.IntN(7))
		for i := range b {
			b[i] = letters[rand.IntN(len(letters))]
		}
		return string(b)
	}
	for range 20_000 {
		pairs = append(pairs, [2]string{random(`ab*?[]^-\`), random(`ab-]\`)})
	}
	for _, p := range pairs {
		conn.Command("FLUSHALL")
		conn.Command("SET", p[1], "")
		conn.Command("EVAL", "return #redis.call('KEYS', ARGV[1])", "0", p[0])
	}
	if err := conn.Send(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range pairs {
		var v redisconn.Value
		for range 3 {

			if v, err = conn.Receive(t.Context(), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		if p[0] == "*" && p[1] == "" {
			continue // KEYS does not even compare
		}
		if n, _ := v.Int(); (n == 1) != Matches(p[0], p[1]) {
			t.Fatalf("%q matches %q: %v, but the server finds %d", p[0], p[1], n == 0, n)
		}
	}
}
