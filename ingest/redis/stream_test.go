package redis

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanin/ingest"
	"fanin/internal/redistest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// collector is an Input with its log in memory, and what it reports.
type collector struct {
	*Input
	log  *appendertest.Memory
	stop func()

	mu      sync.Mutex
	notices []string
	logged  bytes.Buffer
}

// Write implements io.Writer for the Input's own log.
func (c *collector) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.logged.Write(p)
}

// said is the notices until now, one to a line.
func (c *collector) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.notices, "\n")
}

// collect starts an Input that reads from a server into m. It ends with the test.
func collect(t testing.TB, s *redistest.Server, m *appendertest.Memory, o func(*Input)) *collector {
	t.Helper()
	c := &collector{log: m}
	c.Input = &Input{Client: s.Client(), Out: m, Log: slog.New(slog.NewTextHandler(c, nil)), Streams: StreamOptions{Message: "message"},
		Notice: func(format string, args ...any) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.notices = append(c.notices, fmt.Sprintf(format, args...))
		}}
	c.Input.wait = 100 * time.Millisecond
	o(c.Input)
	c.setUp()
	served := make(chan error, 1)
	go func() { served <- c.Serve() }() // ended by stop
	c.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := c.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != ingest.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
		if used := c.Budget.Used(); used != 0 {
			t.Errorf("%d bytes of the budget were not released", used)
		}
		if t.Failed() {
			t.Logf("%s\n%s", c.said(), c.logged.String())
		}
	})
	t.Cleanup(c.stop)
	return c
}

// streamOf reads the stream "logs".
func streamOf(n *Input) { n.Streams.Keys = []string{"logs"} }

// groupOf reads the stream "logs" with a group.
func groupOf(n *Input) { n.Streams.Keys, n.Streams.Group = []string{"logs"}, "g" }

// text is what the log has of the stream "logs".
func (c *collector) text() string {
	return string(c.log.Text(newStreamReader(c.Input, "logs").newSequence().ID()))
}

// wait waits until the log has a text.
func (c *collector) wait(t testing.TB, want string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			c.mu.Lock()
			defer c.mu.Unlock()
			t.Logf("%s\n%s", strings.Join(c.notices, "\n"), c.logged.String())
		}
	}()
	waittest.UntilEqual(t, "the log", want, c.text)
}

func count(c prometheus.Counter) int { return int(testutil.ToFloat64(c)) }

// add adds entries to the stream "logs", and returns their lines.
func add(s *redistest.Server, from, to int) (text string) {
	for i := from; i < to; i++ {
		line := fmt.Sprintf("line %d", i)
		s.Do("XADD", "logs", "*", "message", line)
		text += line + "\n"
	}
	return text
}

// TestStreamOnce: each entry is in the log once, in order, whether it was added before the collector
// started, while it runs, or while it was away.
func TestStreamOnce(t *testing.T) {
	for name, options := range map[string]func(*Input){"plain": streamOf, "group": groupOf} {
		t.Run(name, func(t *testing.T) {
			s := redistest.New(t)
			m := new(appendertest.Memory)
			want := add(s, 0, 50)
			c := collect(t, s, m, options)
			c.wait(t, want)
			waittest.UntilEqual(t, "the trouble", "", c.Trouble)
			want += add(s, 50, 60)
			c.wait(t, want)
			c.stop()
			want += add(s, 60, 80)
			c = collect(t, s, m, options)
			c.wait(t, want)
			s.Kill()
			waittest.Until(t, "trouble", func() bool { return c.Trouble() != "" })
			if said := c.said(); said != "" {
				t.Errorf("it reported %s", said)
			}
		})
	}
}

// TestStreamLines: what becomes of an entry's fields.
func TestStreamLines(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	c := collect(t, s, m, func(n *Input) {
		streamOf(n)
		n.Lines.MaxLine, n.Client.MaxBulk = 300, 2000
	})
	for _, fields := range [][]string{
		{"message", "one"}, {"level", "info", "message", "two\nlines\n"}, {"message", ""}, {"message", "\n"},
		{"level", "info", "text", "a \"quoted\" \x01 \xff ü"}, {"message", strings.Repeat("x", 400)},
		{"message", strings.Repeat("y", 3000)}, {"message", "a", "message", "b"}, {"message", "\x00binary\xff"},
		{"other", strings.Repeat("z", 3000)}, {"message", "end"},
	} {
		s.Do(append([]string{"XADD", "logs", "*"}, fields...)...)
	}
	x := strings.Repeat("x", 400)
	cut := 300 - len(wire.SplitMark) - 1
	want := "one\ntwo\nlines\n" + `{"level":"info","text":"a \"quoted\" \u0001 ` + "\ufffd" + ` ü"}` + "\n" +
		x[:cut] + wire.SplitMark + "\n" + wire.SplitGoesOn + x[cut:] + "\n" + "a\nb\n\x00binary\xff\n" + `{"other":null}` + "\nend\n"
	c.wait(t, want)
	waittest.UntilEqual(t, "entries that were too large", 2, func() int { return count(c.Metrics.tooLarge) })
	if got := count(c.Metrics.withoutField); got != 2 {
		t.Errorf("%d entries without the field", got)
	}
	if got := count(c.Metrics.empty); got != 2 {
		t.Errorf("%d entries are empty", got)
	}
	waittest.Until(t, "the notice", func() bool {
		return strings.Contains(c.said(), "LOST n=2 unit=entries reason=redis-too-large") || strings.Count(c.said(), "LOST n=1") == 2
	})
}

// TestStreamTrimmed: entries that were trimmed before they were read are counted exactly, once.
func TestStreamTrimmed(t *testing.T) {
	for name, options := range map[string]func(*Input){"plain": streamOf, "group": groupOf} {
		t.Run(name, func(t *testing.T) {
			s := redistest.New(t)
			m := new(appendertest.Memory)
			want := add(s, 0, 10)
			s.Do("XTRIM", "logs", "MAXLEN", "7") // before anybody read
			c := collect(t, s, m, options)
			want = want[strings.Index(want, "line 3"):]
			c.wait(t, want)
			waittest.Until(t, "the numbers to be the server's", func() bool { return c.numbered(m) })
			c.stop()
			add(s, 10, 30)
			s.Do("XTRIM", "logs", "MAXLEN", "4")
			c = collect(t, s, m, options)
			want += "line 26\nline 27\nline 28\nline 29\n"
			c.wait(t, want)
			waittest.UntilEqual(t, "missed entries", 16, func() int { return count(c.Metrics.missed) })
			waittest.Until(t, "the notice", func() bool {
				return strings.Contains(c.said(), "LOST n=16 unit=entries reason=redis-trimmed stream=logs")
			})
			c.stop()
			s.Do("XDEL", "logs", s.Do("XADD", "logs", "*", "message", "gone"), s.Do("XADD", "logs", "*", "message", "gone"))
			c = collect(t, s, m, options)
			want += add(s, 30, 31)
			c.wait(t, want)
			waittest.UntilEqual(t, "missed entries", 2, func() int { return count(c.Metrics.missed) })
			c.stop()
			c = collect(t, s, m, options)
			want += add(s, 31, 32)
			c.wait(t, want)
			waittest.Until(t, "a question for the counts", func() bool { return s.Do("INFO", "commandstats") != "" && c.settled(s) })
			if said := c.said(); said != "" {
				t.Errorf("reported again: %s", said)
			}
		})
	}
}

// numbered reports whether the log has a number of the server's.
func (c *collector) numbered(m *appendertest.Memory) bool {
	state, _ := m.State(newStreamReader(c.Input, "logs").newSequence().ID())
	return state.Offset>>16&counted != 0
}

// settled waits until the counts were asked for twice more.
func (c *collector) settled(s *redistest.Server) bool {
	asked := func() int {
		_, rest, _ := strings.Cut(s.Do("INFO", "commandstats"), "cmdstat_xinfo|stream:calls=")
		var n int
		fmt.Sscanf(rest, "%d", &n)
		return n
	}
	first := asked()
	for asked() < first+2 {
		time.Sleep(20 * time.Millisecond)
	}
	return true
}
