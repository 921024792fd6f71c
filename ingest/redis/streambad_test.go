package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"fanin/internal/redistest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// TestStreamTrouble: what keeps a stream from being read is the trouble, with a remedy, and nothing is
// lost.
func TestStreamTrouble(t *testing.T) {
	for name, options := range map[string]func(*Input){"plain": streamOf, "group": groupOf} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.New(t)
			m := new(appendertest.Memory)
			s.Do("SET", "logs", "text")
			c := collect(t, s, m, options)
			waittest.Until(t, "the wrong type", func() bool { return strings.Contains(c.Trouble(), "choose another key") })
			s.Do("DEL", "logs")
			s.Do("ACL", "SETUSER", "default", "-xread", "-xreadgroup")
			want := add(s, 0, 10)
			waittest.Until(t, "the missing permission", func() bool { return strings.Contains(c.Trouble(), "ACL SETUSER") })
			s.Do("ACL", "SETUSER", "default", "+xread", "+xreadgroup")
			c.wait(t, want)
			waittest.UntilEqual(t, "the trouble", "", c.Trouble)
			s.Do("ACL", "SETUSER", "default", "-xinfo")
			want += add(s, 10, 20)
			c.wait(t, want)
			s.Do("CLIENT", "KILL", "TYPE", "normal")
			want += add(s, 20, 30)
			c.wait(t, want)
			waittest.Until(t, "the reason why nothing is counted", func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return strings.Contains(c.logged.String(), "may not use XINFO")
			})
			if said := c.said(); said != "" {
				t.Errorf("it reported %s", said)
			}
		})
	}
}

// TestStreamLarge: replies that would be too large are asked for in smaller ones, whether it is bytes or
// elements that they have too many of. The log has all entries, however large.
func TestStreamLarge(t *testing.T) {
	for name, options := range map[string]func(*Input){"plain": streamOf, "group": groupOf} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.New(t)
			m := new(appendertest.Memory)
			want := ""
			for i := range 100 {
				want += add(s, i, i+1)
			}
			for i := range 15 {
				line := strings.Repeat(fmt.Sprintf("%03d ", i), 100_000)
				s.Do("XADD", "logs", "*", "message", line)
				want += line + "\n"
			}
			fields := []string{"XADD", "logs", "*"}
			for range 20_000 {
				fields = append(fields, "field", "value")
			}
			for i := range 40 {
				s.Do(append(fields, "message", fmt.Sprint("many ", i))...)
				want += fmt.Sprintf("many %d\n", i)
			}
			c := collect(t, s, m, func(n *Input) { options(n); n.Client.MaxBulk = 500_000 })
			waittest.UntilEqual(t, "lines", strings.Count(want, "\n"), func() int { return int(c.Inputs.Of("redis-stream").Counts().Received) })
			if c.text() != want || c.said() != "" {
				t.Errorf("the log has %d bytes, want %d; it reported %s", len(c.text()), len(want), c.said())
			}
		})
	}
}

// TestStreamManyLines: an entry of so many lines that it is committed in parts, of which the log has a
// few when the rest fails.
func TestStreamManyLines(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	divided := 0
	m.Before = func(_ context.Context, b wire.Batch) error {
		if len(b.Cuts) == 0 || divided == 10 {
			return nil
		}
		divided++
		head, _ := b.Divide(rand.IntN(len(b.Cuts)))
		head.Cuts = nil
		return errors.Join(m.Append(context.Background(), head), errors.New("killed"))
	}
	want := ""
	for i := range 5 {
		text := strings.Repeat(fmt.Sprintf("entry %d\n", i), 30_000)
		s.Do("XADD", "logs", "*", "message", text)
		want += text
	}
	c := collect(t, s, m, streamOf)
	waittest.Until(t, "all lines", func() bool { return len(c.text()) >= len(want) })
	if c.text() != want || divided == 0 {
		t.Errorf("the log has %d bytes, want %d; it was interrupted %d times", len(c.text()), len(want), divided)
	}

	// The rest of an entry is removed while the collector is away: it is lost, and what follows is not.
	divided = 9
	half := strings.Repeat("half\n", 30_000)
	id := s.Do("XADD", "logs", "*", "message", half)
	waittest.Until(t, "half of an entry", func() bool { return len(c.text()) > len(want) })
	c.stop()
	s.Do("XDEL", "logs", id)
	had := len(c.text())
	if had >= len(want)+len(half) {
		t.Skip("it was committed before the collector stopped")
	}
	c = collect(t, s, m, streamOf)
	s.Do("XADD", "logs", "*", "message", "end")
	waittest.Until(t, "the end", func() bool { return strings.HasSuffix(c.text(), "end\n") })
	if got := len(c.text()); got != had+len("end\n") {
		t.Errorf("the log has %d bytes behind the half", got-had)
	}
	waittest.Until(t, "the notice", func() bool { return strings.Contains(c.said(), "LOST n=1 unit=entries reason=redis-removed") })
}
