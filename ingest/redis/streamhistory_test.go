package redis

import (
	"fmt"
	"strings"
	"testing"

	"fanin/internal/redistest"
	"fanin/internal/waittest"
	"fanin/internal/wire/appendertest"
)

// addAt adds entries with ids of the test's own, and returns their lines.
func addAt(s *redistest.Server, first, from, to int) (text string) {
	for i := from; i < to; i++ {
		line := fmt.Sprintf("entry %d-%d", first, i)
		s.Do("XADD", "logs", fmt.Sprintf("%d-%d", first, i), "message", line)
		text += line + "\n"
	}
	return text
}

// saved makes the server write what it has to its disk, from where it starts again.
func saved(s *redistest.Server) { s.Do("SAVE") }

// TestStreamHistory: a stream that does not continue what the log has of it. Nothing is skipped that
// was not read, what was read does not come again, and it is reported.
func TestStreamHistory(t *testing.T) {
	const (
		lost  = "the Redis server lost the end of its stream"
		fewer = "the Redis server counts fewer entries of its stream than were read"
		other = "the Redis server has another stream under this key"
		gone  = "NOTE stream=logs: the stream is not on the Redis server any more"
	)
	for name, x := range map[string]struct {
		away     bool // it happens while the collector is away
		settings []string
		before   func(s *redistest.Server) string
		happens  func(s *redistest.Server)
		after    func(s *redistest.Server) string
		notice   string
	}{
		"flushed":         {happens: func(s *redistest.Server) { s.Do("FLUSHALL") }, notice: gone},
		"flushed, away":   {away: true, happens: func(s *redistest.Server) { s.Do("FLUSHALL") }, notice: other},
		"killed, empty":   {happens: func(s *redistest.Server) { s.Kill(); s.Start() }, notice: gone},
		"lost its end":    {happens: func(s *redistest.Server) { s.Kill(); s.Start() }, before: func(s *redistest.Server) string { saved(s); return add(s, 10, 20) }, notice: lost},
		"lost, then more": {away: true, happens: func(s *redistest.Server) { s.Kill(); s.Start() }, before: func(s *redistest.Server) string { saved(s); return add(s, 10, 20) }, notice: lost},
		"lost, then much": {away: true, happens: func(s *redistest.Server) { s.Kill(); s.Start() }, before: func(s *redistest.Server) string { saved(s); return add(s, 10, 20) },
			after: func(s *redistest.Server) string { return add(s, 200, 250) }, notice: fewer},
		"small ids again": {happens: func(s *redistest.Server) { s.Do("DEL", "logs") }, before: func(s *redistest.Server) string {
			s.Do("DEL", "logs")
			return ""
		}, after: func(s *redistest.Server) string { return addAt(s, 1, 1, 5) }, notice: gone},
		"smaller ids, away": {away: true, happens: func(s *redistest.Server) { s.Do("DEL", "logs") },
			after: func(s *redistest.Server) string { return addAt(s, 1, 1, 5) }, notice: other},
	} {
		for kind, options := range map[string]func(*Input){"plain": streamOf, "group": groupOf} {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				s := redistest.New(t, x.settings...)
				m := new(appendertest.Memory)
				c := collect(t, s, m, options)
				want := ""
				for i := range 10 { // in batches of their own
					want += add(s, i, i+1)
					c.wait(t, want)
				}
				if x.before != nil {
					want += x.before(s)
				}
				c.wait(t, want)
				if x.away {
					c.stop()
				}
				last := s.Do("TIME")
				x.happens(s)
				for s.Do("TIME")[:14] == last[:14] { // other ids come with another millisecond
				}
				if !x.away {
					waittest.Until(t, "the notice", func() bool { return strings.Contains(c.said(), x.notice) })
				}
				if x.after != nil {
					want += x.after(s)
				} else {
					want += add(s, 100, 105)
				}
				if x.away {
					c = collect(t, s, m, options)
				}
				c.wait(t, want)
				want += add(s, 300, 301)
				c.wait(t, want)
				waittest.Until(t, "the notice", func() bool { return strings.Contains(c.said(), x.notice) })
				c.settled(s)
				if got := count(c.Metrics.resets); got != 1 || strings.Count(c.said(), "\n") != 0 {
					t.Errorf("it happened %d times: %s", got, c.said())
				}
				c.stop()
				c = collect(t, s, m, options)
				want += add(s, 301, 302)
				c.wait(t, want)
				if c.settled(s); c.said() != "" {
					t.Errorf("after a restart: %s", c.said())
				}
			})
		}
	}
}

// TestStreamFailover: a replica that did not have the last entries takes the place of the server. It is
// another server, but the same stream.
func TestStreamFailover(t *testing.T) {
	for name, options := range map[string]func(*Input){"plain": streamOf, "group": groupOf} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary := redistest.New(t)
			replica := redistest.New(t, "replicaof 127.0.0.1 "+primary.Port())
			m := new(appendertest.Memory)
			c := collect(t, primary, m, options)
			want := ""
			for i := range 10 {
				want += add(primary, i, i+1)
				c.wait(t, want)
			}
			waittest.UntilEqual(t, "entries on the replica", "10", func() string { return replica.Do("XLEN", "logs") })
			waittest.UntilEqual(t, "the offset of the replica", primary.Do("WAIT", "1", "20000"), func() string { return "1" })
			replica.Do("REPLICAOF", "NO", "ONE")
			want += add(primary, 10, 15)
			c.wait(t, want)
			c.stop()
			primary.Kill()
			c = collect(t, replica, m, options)
			want += add(replica, 100, 130)
			c.wait(t, want)
			waittest.Until(t, "the notice", func() bool { return strings.Contains(c.said(), "NOTE stream=logs") })
			c.settled(replica)
			if got := count(c.Metrics.resets); got != 1 {
				t.Errorf("%d resets: %s", got, c.said())
			}
		})
	}
}

// TestStreamClockBehind: entries that a server took after it lost its end, with ids that are not behind
// those in the log, are counted as perhaps missing.
func TestStreamClockBehind(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	const base = 1795655957000
	put := func(from, to int, what string) (text string) {
		for i := from; i <= to; i++ {
			line := fmt.Sprint(what, " ", i)
			s.Do("XADD", "logs", fmt.Sprintf("%d-%d", base+i, len(what)), "message", line)
			text += line + "\n"
		}
		return text
	}
	want := put(1, 10, "old")
	saved(s)
	c := collect(t, s, m, streamOf)
	c.wait(t, want)
	want += put(11, 20, "old") // what the new master did not get
	c.wait(t, want)
	c.stop()
	s.Kill()
	s.Start()
	put(14, 18, "newer") // its clock is behind
	c = collect(t, s, m, streamOf)
	waittest.Until(t, "the notice", func() bool { return strings.Contains(c.said(), "lost the end of its stream") })
	var n int
	_, rest, _ := strings.Cut(c.said(), "unsure=")
	if fmt.Sscanf(rest, "%d", &n); n < 5 || n > 15 {
		t.Errorf("it reported %s", c.said())
	}
	want += put(30, 32, "later")
	c.wait(t, want)
}
