package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/redistest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// writer writes lines to a stream or a list, a few at a time: "RUN NUMBER". After a command whose
// outcome it does not know it begins another run.
type writer struct {
	command []string
	acked   map[int]int // lines of each run that the server confirmed
}

// write writes until ctx ends.
func (w *writer) write(ctx context.Context, s *redistest.Server) {
	w.acked = make(map[int]int)
	for run := 0; ctx.Err() == nil; run++ {
		conn, err := s.Client().Dial(ctx, "")
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		for n := 0; err == nil && ctx.Err() == nil; {
			few := 1 + rand.IntN(20)
			for i := range few {
				conn.Command(append(slices.Clone(w.command), fmt.Sprintf("%d %d", run, n+i))...)
			}
			if err = conn.Send(ctx); err != nil {
				break
			}
			for range few {
				if _, err = conn.Receive(ctx, 0); err != nil {
					break
				}
				n++
				w.acked[run] = n
			}
		}
		conn.Close()
	}
}

// check returns what is wrong with a log: each run is there from its beginning, in order, once, and
// at least as far as it was confirmed.
func (w *writer) check(text string) error {
	next := make(map[int]int)
	for line := range strings.Lines(text) {
		var run, n int
		if _, err := fmt.Sscanf(line, "%d %d\n", &run, &n); err != nil {
			return fmt.Errorf("the line %q: %w", line, err)
		}
		if n != next[run] {
			return fmt.Errorf("line %d of run %d follows line %d", n, run, next[run]-1)
		}
		next[run]++
	}
	for run, n := range w.acked {
		if next[run] < n {
			return fmt.Errorf("run %d has %d lines, and %d were confirmed", run, next[run], n)
		}
	}
	return nil
}

// unreliable makes commits of m fail, before or after the lines are kept, now and then.
func unreliable(m *appendertest.Memory) {
	m.Before = func(context.Context, wire.Batch) error {
		if rand.IntN(10) == 0 {
			return errors.New("not now")
		}
		return nil
	}
	m.After = func(_ context.Context, _ wire.Batch, err error) error {
		if rand.IntN(10) == 0 {
			return errors.Join(err, errors.New("the answer is lost"))
		}
		return err
	}
}

// cut kills a server and takes the last commands from what it wrote, as a power cut does: it syncs once a second.
func cut(t testing.TB, s *redistest.Server) {
	t.Helper()
	s.Kill()
	files, err := filepath.Glob(filepath.Join(s.Dir(), "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the server has the files %v, %v", files, err)
	}
	fi, err := os.Stat(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(files[0], max(0, fi.Size()-1000-rand.Int64N(100_000))); err != nil {
		t.Fatal(err)
	}
	s.Start()
}

// TestCuts: while a server loses its last writes again and again, each line that it had is in the log at
// most once, in order, and what it lost is reported.
func TestCuts(t *testing.T) {
	for name, options := range map[string]func(*Input){"stream": streamOf, "group": groupOf} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.New(t, "appendonly yes", "appendfsync everysec", "auto-aof-rewrite-percentage 0")
			m := new(appendertest.Memory)
			c := collect(t, s, m, options)
			w := &writer{command: []string{"XADD", "logs", "*", "message"}}
			ctx, cancel := context.WithCancel(t.Context())
			written := make(chan struct{})
			go func() { defer close(written); w.write(ctx, s) }() // ends with ctx
			for range 8 {
				had := len(all(m))
				waittest.Until(t, "lines", func() bool { return len(all(m)) > had+10_000 })
				time.Sleep(rand.N(50 * time.Millisecond)) // anything may be under way
				cut(t, s)
			}
			cancel()
			<-written
			last := func(line string) any {
				id := s.Do("XADD", "logs", "*", "message", line)
				waittest.Until(t, line, func() bool { return strings.HasSuffix(all(m), line+"\n") })
				return id
			}
			last("99998 0")
			last("99999 0") // alone in its reply: this cut takes an entry that the log has, so it must be reported
			cut(t, s)
			waittest.Until(t, "a reset", func() bool { return count(c.Metrics.resets) > 0 })
			id := last("100000 0")
			w.acked = map[int]int{100000: 1}
			if err := w.check(all(m)); err != nil {
				t.Errorf("at %s: %v", id, err)
			}
			resets := count(c.Metrics.resets)
			if strings.Count(c.said(), "NOTE stream=logs ") != resets {
				t.Errorf("%d resets, and it reported %s", resets, c.said())
			}
			t.Logf("%d resets of 9", resets)
		})
	}
}

// TestKills: while a server that syncs always is killed again and again, and the collector ends and
// comes back, and its log fails now and then, each line is in the log once, in order.
func TestKills(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	for name, x := range map[string]struct {
		options func(*Input)
		command []string
	}{
		"stream": {streamOf, []string{"XADD", "logs", "*", "message"}},
		"group":  {groupOf, []string{"XADD", "logs", "*", "message"}},
		"list":   {listOf, []string{"RPUSH", "queue"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.New(t, "appendonly yes", "appendfsync always")
			m := new(appendertest.Memory)
			unreliable(m)
			c := collect(t, s, m, x.options)
			w := &writer{command: x.command}
			ctx, cancel := context.WithCancel(t.Context())
			written := make(chan struct{})
			go func() { defer close(written); w.write(ctx, s) }() // ends with ctx
			for range rounds {
				time.Sleep(time.Duration(50+rand.IntN(150)) * time.Millisecond) // anything may be under way
				switch rand.IntN(3) {
				case 0:
					c.stop()
					c = collect(t, s, m, x.options)
				default:
					s.Kill()
					s.Start()
				}
			}
			cancel()
			<-written
			var last atomic.Pointer[error]
			defer func() {
				if t.Failed() {
					t.Errorf("the log: %v; it reported %q; trouble %q", *last.Load(), c.said(), c.Trouble())
					for _, what := range [][]string{{"XINFO", "STREAM", "logs", "FULL"}, {"XPENDING", "logs", "g"}, {"XINFO", "GROUPS", "logs"}} {
						got, err := s.Try(what...)
						t.Logf("%v: %.2000v %v", what, got, err)
					}
				}
			}()
			waittest.Until(t, "all lines", func() bool {
				err := w.check(all(m))
				last.Store(&err)
				return err == nil
			})
			c.stop()
			if err := w.check(all(m)); err != nil || c.said() != "" {
				t.Errorf("%v; it reported %s", err, c.said())
			}
			lines := 0
			for n := range maps.Values(w.acked) {
				lines += n
			}
			t.Logf("%d lines in %d runs", lines, len(w.acked))
		})
	}
}
