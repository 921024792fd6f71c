package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink"
)

const owner = "edge/" + wire.RelaySession

// node is a log, and its relay if it has one.
type node struct {
	t    *testing.T
	dir  string
	sink *sink.Sink
	down *Relay
	stop func()
}

func discard() *slog.Logger { return slog.New(slog.NewTextHandler(logTo(), nil)) }

// open opens a log in a directory; the same directory is the same log.
func open(t *testing.T, dir, format string, retention sink.RetentionPolicy) *node {
	t.Helper()
	n := &node{t: t, dir: dir, stop: func() {}}
	n.sink = &sink.Sink{Path: filepath.Join(dir, "all.log"), State: filepath.Join(dir, "state"), Format: format,
		Sync: "none", Host: "here", Log: discard(), Retention: retention, Rotation: sink.RotationPolicy{Size: -1}}
	return n
}

func (n *node) start() *node {
	n.t.Helper()
	if err := n.sink.Open(context.Background()); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(n.close)
	return n
}

// relay makes the relay of n; n is not open yet.
func (n *node) relay() *node {
	n.down = New(n.sink, n.sink.State, "tcp://up:1", discard())
	n.down.Trouble = func() string { return "" }
	return n
}

func (n *node) close() {
	n.stop()
	n.stop = func() {}
	if err := n.sink.Close(context.Background()); err != nil {
		n.t.Error(err)
	}
}

// connect has n forward to another log until stop, over a link that may fail.
func (n *node) connect(up *node, link *link) {
	link.up = up.sink
	n.down.Out = link
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ends with ctx
		defer close(done)
		n.down.Run(ctx)
	}()
	n.stop = func() { cancel(); <-done }
	n.down.Welcomed(up.welcome(), wire.MaxText)
}

// welcome is that of a log for the relay.
func (n *node) welcome() wire.Welcome {
	w := n.sink.Welcome(owner)
	for page := range w.Listing.Pages(100) {
		w.Streams = append(w.Streams, page...)
	}
	w.About.Way = wire.Way{Known: true, Logs: []wire.StreamID{w.Log}}
	if n.down != nil {
		w.About.Way = n.down.Way()
	}
	return w
}

// link carries batches to a log.
type link struct {
	up *sink.Sink

	mu     sync.Mutex
	faults int // how many are left
	lost   int // so many answers to lines get lost
	cut    bool
	last   chan struct{} // closed when the batch that came last is done
}

var errLink = errors.New("the link failed")

func (l *link) fails() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.faults > 0 && rand.IntN(4) == 0 {
		l.faults--
		return true
	}
	return l.cut
}

// Append carries batches in the order in which they come, so the next one may come at once.
func (l *link) Append(ctx context.Context, b wire.Batch) error {
	l.mu.Lock()
	before, done := l.last, make(chan struct{})
	l.last = done
	l.mu.Unlock()
	defer close(done)
	if b.Next != nil {
		b.Next()
	}
	if before != nil {
		<-before
	}
	if l.fails() {
		return errLink
	}
	b.Agent, b.Host, b.Input, b.Relayed = owner, "edge", "agent", true
	err := l.up.Append(ctx, b)
	l.mu.Lock()
	lost := l.lost > 0 && b.Op == wire.OpData
	if lost {
		l.lost--
	}
	l.mu.Unlock()
	if lost || l.fails() {
		return errLink // the answer is lost
	}
	return err
}

// text is all that a log has, in order.
func (n *node) text() string {
	n.t.Helper()
	r := n.sink.Reader(sink.Position{})
	defer r.Close()
	buf, all := make([]byte, 4<<20), bytes.Buffer{}
	for {
		text, _, err := r.Read(context.Background(), buf)
		if err != nil {
			n.t.Fatal(err)
		}
		if text == nil {
			return all.String()
		}
		all.Write(text)
	}
}

// observed is what a log in format json adds to a line itself.
var observed = regexp.MustCompile(`"ObservedTimestamp":"[^"]*",("Timestamp")?`)

// lines are the text of a log without what differs from one log to the next.
func (n *node) lines() string {
	if n.sink.Format != "json" {
		return n.text()
	}
	var all strings.Builder
	for line := range strings.Lines(n.text()) {
		m := observed.FindStringSubmatch(line)
		if m[1] == "" { // it shows the time at which it was read
			line = strings.Replace(line, `"ObservedTimestamp"`, `"Timestamp"`, 1)
		} else {
			line = strings.Replace(line, m[0], `"Timestamp"`, 1)
		}
		all.WriteString(line)
	}
	return all.String()
}

// reaches waits until an upstream has all lines of n.
func (n *node) reaches(up *node) {
	n.t.Helper()
	waittest.Until(n.t, "the upstream to have all", func() bool { return n.down.Status().Lag == 0 })
	// What was acknowledged is in the file a moment later.
	want := n.lines()
	waittest.Until(n.t, "the file of the upstream", func() bool { return len(up.lines()) >= len(want) })
	if got := up.lines(); got != want {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		n.t.Fatalf("the upstream has %d bytes, and this log %d; they differ at %d:\n%.300q\n%.300q", len(got), len(want), at,
			got[max(0, at-100):], want[max(0, at-100):])
	}
}

var bodies = []string{
	"a line", "", "with \x1b[31m escapes and \x85", "tab\there", "quote \" and backslash \\ and \\u0041", "Ünïcode → ü",
	"not UTF-8 \xff\xc0\x8a", "ends in CR\r\r", "#033 as text", strings.Repeat("long ", 60000), strings.Repeat("\x01\x02", 150000),
	"]: odd: \"}", "2026-11-22T17:00:00.123456Z web01 nginx: like a line of the log",
}

// fill appends lines of several kinds, in n batches.
func (n *node) fill(batches int) {
	n.t.Helper()
	for i := range batches {
		b := wire.Batch{Host: fmt.Sprintf("host-%d", i%3), Source: "app[17]", Input: "tcp", Time: time.Now().Add(-time.Hour).UnixMicro() + int64(i)}
		for j := range 1 + rand.IntN(30) {
			l := wire.Labels{Host: fmt.Sprintf("h%d", j%2), Source: fmt.Sprintf("s%d", rand.IntN(3))}
			if j%4 == 0 {
				l.Time = time.UnixMicro(1795366800000000 + int64(j))
			}
			if j%5 == 0 {
				l.Attributes = "\x08PRIORITY\x01\x003\x01v\x08\x00a\"b\\\n\"},"
			}
			b.Label(l)
			body := bodies[rand.IntN(len(bodies))]
			if len(body) > 1000 && rand.IntN(40) > 0 {
				body = bodies[0]
			}
			if b.Joined = i%7 == 0; b.Joined {
				b.Text = wire.AppendRecord(b.Text, []byte(body+"\nsecond line"))
			} else {
				b.Text = append(b.Text, body...)
			}
			b.Text = append(b.Text, '\n')
		}
		if err := n.sink.Append(context.Background(), b); err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *node) rotate() {
	n.t.Helper()
	if _, err := n.sink.Rotate(context.Background()); err != nil {
		n.t.Fatal(err)
	}
}

// The upstream's log is the same, in both formats: labels, times, attributes, records and bytes
// that are escaped, over rotations and from compressed files, although answers are lost, and the
// relay and both logs stop in between.
func TestForward(t *testing.T) {
	for _, format := range []string{"syslog", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			edge := open(t, t.TempDir(), format, sink.RetentionPolicy{}).relay().start()
			up := open(t, t.TempDir(), format, sink.RetentionPolicy{}).start()
			edge.fill(12)
			edge.rotate()
			edge.fill(12)
			edge.rotate()
			waittest.Until(t, "the first file to be compressed", func() bool { return edge.sink.Status().Generations[0].State == "gzip" })
			for range 3 {
				l := &link{faults: 10}
				edge.connect(up, l)
				for range 3 {
					edge.fill(8)
					edge.rotate()
				}
				edge.reaches(up)
				edge.close()
				up.close()
				edge = open(t, edge.dir, format, sink.RetentionPolicy{}).relay().start()
				up = open(t, up.dir, format, sink.RetentionPolicy{}).start()
				edge.fill(1)
			}
			edge.connect(up, &link{})
			edge.reaches(up)
			waittest.UntilEqual(t, "streams of earlier generations to end", 1, func() int { return len(up.welcome().Streams) })
		})
	}
}

func logTo() io.Writer {
	if os.Getenv("RELAY_LOG") != "" {
		return os.Stderr
	}
	return io.Discard
}
