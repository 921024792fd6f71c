package redis

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fanin/internal/redistest"
	"fanin/internal/waittest"
	"fanin/internal/wire/appendertest"
)

// TestStreamEmptyEntries: entries without a line that the log was told of are not missing after a restart,
// although the stream does not have them any more.
func TestStreamEmptyEntries(t *testing.T) {
	for name, o := range map[string]func(*Input){"group": groupOf, "plain": streamOf} {
		for _, behind := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " in the block of a line: ", behind), func(t *testing.T) {
				s := redistest.New(t)
				m := new(appendertest.Memory)
				want := add(s, 0, 5)
				c := collect(t, s, m, o)
				c.wait(t, want)
				waittest.Until(t, "the numbers to be the server's", func() bool { return c.numbered(m) })
				if behind {
					c.stop()
				}
				for range 5 {
					s.Do("XADD", "logs", "*", "message", "")
				}
				if behind {
					c = collect(t, s, m, o)
				}
				waittest.UntilEqual(t, "empty entries", 5, func() int { return count(c.Metrics.empty) })
				waittest.Until(t, "the log to know them", func() bool {
					state, _ := m.State(newStreamReader(c.Input, "logs").newSequence().ID())
					return state.Offset>>16 == counted+10+1
				})
				c.stop()
				s.Do("XTRIM", "logs", "MAXLEN", "0")
				c = collect(t, s, m, o)
				want += add(s, 5, 6)
				c.wait(t, want)
				c.settled(s)
				if said := c.said(); said != "" || count(c.Metrics.missed) != 0 {
					t.Errorf("it reported %s", said)
				}
			})
		}
	}
}

// TestStreamOverflow: entries that are allowed are in the log, although more of them than a reply may have
// were asked for, before it showed how large they are.
func TestStreamOverflow(t *testing.T) {
	for name, o := range map[string]func(*Input){"group": groupOf, "plain": streamOf} {
		t.Run(name, func(t *testing.T) {
			s := redistest.New(t)
			m := new(appendertest.Memory)
			message, other := strings.Repeat("m", 600_000), strings.Repeat("f", 1_040_000)
			for i := range 12 {
				fields := []string{"XADD", "logs", "*", "message", fmt.Sprint(i, message)}
				if i >= 4 {
					fields = append(fields, "a", other, "b", other)
				}
				s.Do(fields...)
			}
			c := collect(t, s, m, o)
			waittest.UntilEqual(t, "lines in the log", 12, func() int { return strings.Count(c.text(), "\n") })
			if got := count(c.Metrics.tooLarge); got != 0 {
				t.Errorf("%d entries were too large: %s", got, c.said())
			}
		})
	}
}

// TestStreamCounts: a count that only an operator can have set is not believed.
func TestStreamCounts(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	want := add(s, 0, 5)
	c := collect(t, s, m, streamOf)
	c.wait(t, want)
	id, _, _ := strings.Cut(s.Do("XREVRANGE", "logs", "+", "-", "COUNT", "1"), "\n")
	s.Do("XSETID", "logs", id, "ENTRIESADDED", "9223372036854775807", "MAXDELETEDID", "0-0")
	c.settled(s)
	want += add(s, 5, 10)
	c.wait(t, want)
	waittest.UntilEqual(t, "the trouble", "", c.Trouble)
	if got := count(c.Metrics.missed); got != 0 {
		t.Errorf("%d entries are missed: %s", got, c.said())
	}
}

// TestStreamQuestions: a stream with large entries is asked rarely for its counts, and the entries that
// such a reply has are not counted as skipped.
func TestStreamQuestions(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	s.Do("XADD", "logs", "*", "message", strings.Repeat("x", 3<<20))
	want := add(s, 0, 1)
	c := collect(t, s, m, streamOf)
	c.wait(t, want)
	if got := count(c.Metrics.skipped); got != 1 {
		t.Errorf("%d values were skipped, want 1", got)
	}
	r := requests{}
	if r.pause(6<<20, time.Second); time.Until(r.infoAt) < 20*time.Second {
		t.Errorf("the next question comes in %s", time.Until(r.infoAt))
	}
}
