package redis

import (
	"fmt"
	"strings"
	"testing"

	"fanin/internal/redistest"
	"fanin/internal/waittest"
	"fanin/internal/wire/appendertest"
)

// TestGroupPending: what was delivered to this consumer and not acknowledged comes first; what of it was
// removed is lost, and counted; in the end everything is acknowledged.
func TestGroupPending(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	want := add(s, 0, 10)
	c := collect(t, s, m, groupOf)
	c.wait(t, want)
	pending := func() string { return strings.Split(s.Do("XPENDING", "logs", "g"), "\n")[0] }
	waittest.UntilEqual(t, "pending entries", "0", pending) // else they come again, and are repeats
	c.stop()

	// A process that reads, and neither commits nor acknowledges.
	add(s, 10, 20)
	s.Do("XREADGROUP", "GROUP", "g", "fanin", "COUNT", "6", "STREAMS", "logs", ">")
	s.Do("XTRIM", "logs", "MAXLEN", "7") // 13 to 19 are left, 10 to 15 were delivered
	c = collect(t, s, m, groupOf)
	for i := 13; i < 20; i++ {
		want += fmt.Sprintf("line %d\n", i)
	}
	want += add(s, 20, 25)
	c.wait(t, want)
	waittest.UntilEqual(t, "lost entries", 3, func() int { return count(c.Metrics.missed) })
	waittest.Until(t, "the notice", func() bool {
		return strings.Contains(c.said(), "LOST n=3 unit=entries reason=redis-removed stream=logs")
	})
	waittest.UntilEqual(t, "pending entries", "0", pending)
	c.settled(s)
	if got := c.said(); strings.Count(got, "\n") != 0 {
		t.Errorf("it reported %s", got)
	}

	// The group forgets what it delivered, or is made anew.
	s.Do("XGROUP", "SETID", "logs", "g", "0")
	want += add(s, 25, 30)
	c.wait(t, want)
	waittest.UntilEqual(t, "repeats", 12, func() int { return count(c.Metrics.repeats) })
	s.Do("XGROUP", "DESTROY", "logs", "g")
	waittest.Until(t, "the group", func() bool { return strings.HasPrefix(s.Do("XINFO", "GROUPS", "logs"), "name\ng\n") })
	want += add(s, 30, 35)
	c.wait(t, want)
}

// TestGroupBeforeEntries: a collector that starts, and starts again, before there is an entry reads those
// that were added when it is back.
func TestGroupBeforeEntries(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	for range 3 {
		c := collect(t, s, m, groupOf)
		waittest.Until(t, "the group", func() bool {
			groups, _ := s.Try("XINFO", "GROUPS", "logs")
			return groups != ""
		})
		c.settled(s)
		c.stop()
	}
	want := add(s, 0, 5)
	c := collect(t, s, m, groupOf)
	c.wait(t, want)
	add(s, 5, 6)
	waittest.Until(t, "the numbers to be the server's", func() bool { return c.numbered(m) })
	c.stop()
	s.Do("XTRIM", "logs", "MAXLEN", "0")
	add(s, 6, 9)
	s.Do("XTRIM", "logs", "MAXLEN", "1")
	c = collect(t, s, m, groupOf)
	c.wait(t, want+"line 5\nline 8\n")
	waittest.UntilEqual(t, "missed entries", 2, func() int { return count(c.Metrics.missed) })
}

// TestGroupShared: two consumers share the entries, and neither takes what the other one got for lost.
func TestGroupShared(t *testing.T) {
	s := redistest.New(t)
	logs := [2]appendertest.Memory{}
	var all [2]*collector
	for i := range all {
		all[i] = collect(t, s, &logs[i], func(n *Input) {
			groupOf(n)
			n.Streams.Consumer = fmt.Sprint("c", i)
		})
		waittest.UntilEqual(t, "the trouble", "", all[i].Trouble)
	}
	lines := 0
	for i := 0; i < 1000; i += 50 {
		lines += strings.Count(add(s, i, i+50), "\n")
		waittest.UntilEqual(t, "lines in both logs", lines, func() int {
			return strings.Count(all[0].text(), "\n") + strings.Count(all[1].text(), "\n")
		})
	}
	for i, c := range all {
		c.settled(s)
		if c.text() == "" || c.said() != "" || count(c.Metrics.missed) != 0 {
			t.Errorf("consumer %d has %d bytes, and reported %s", i, len(c.text()), c.said())
		}
	}
}

// TestGroupClaimed: entries that were delivered to another consumer and claimed for this one are in the log,
// once, also behind later ones, and after a collector was killed before it acknowledged them.
func TestGroupClaimed(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	s.Do("XGROUP", "CREATE", "logs", "g", "0", "MKSTREAM")
	claimed := add(s, 0, 3)
	s.Do("XREADGROUP", "GROUP", "g", "retired", "STREAMS", "logs", ">") // and then this consumer is gone
	c := collect(t, s, m, groupOf)
	want := add(s, 3, 5)
	c.wait(t, want)
	waittest.Until(t, "the warning", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return strings.Contains(c.logged.String(), "XAUTOCLAIM logs g fanin")
	})
	s.Do("XAUTOCLAIM", "logs", "g", "fanin", "0", "0")
	waitAll(t, m, want+claimed) // while it runs
	pending := func() string { return strings.Split(s.Do("XPENDING", "logs", "g"), "\n")[0] }
	waittest.UntilEqual(t, "pending entries", "0", pending)
	c.stop()

	s.Do("ACL", "SETUSER", "default", "-xack")
	claimed += add(s, 5, 8)
	s.Do("XREADGROUP", "GROUP", "g", "retired", "STREAMS", "logs", ">")
	s.Do("XAUTOCLAIM", "logs", "g", "fanin", "0", "0")
	later := add(s, 8, 9)
	s.Do("XREADGROUP", "GROUP", "g", "fanin", "STREAMS", "logs", ">") // of this consumer, and never read
	c = collect(t, s, m, groupOf)
	waittest.Until(t, "the missing permission", func() bool { return strings.Contains(c.Trouble(), "ACL SETUSER") })
	c.stop()
	s.Do("ACL", "SETUSER", "default", "+xack")
	c = collect(t, s, m, groupOf)
	waittest.UntilEqual(t, "pending entries", "0", pending)
	if wrong := notOnce(all(m), want+claimed+later); wrong != "" {
		t.Error(wrong)
	}
	if got := count(c.Metrics.missed); got != 0 {
		t.Errorf("%d entries are missed", got)
	}
}

// notOnce returns what is wrong if a line of want is not in text exactly once.
func notOnce(text, want string) string {
	for line := range strings.Lines(want) {
		if n := strings.Count("\n"+text, "\n"+line); n != 1 {
			return fmt.Sprintf("%q is in the log %d times", line, n)
		}
	}
	return ""
}

// TestGroupLate: entries that were delivered to a request of a connection that is long closed are in the
// log, once, and none of them is taken for lost, also when the collector ends then.
func TestGroupLate(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	c := collect(t, s, m, groupOf)
	want := add(s, 0, 10)
	c.wait(t, want)
	pending := func() string { return strings.Split(s.Do("XPENDING", "logs", "g"), "\n")[0] }
	late := ""
	for i := 10; i < 60; i += 5 { // one reply of the other connection, and then some of the collector's
		late += add(s, i, i+2)
		s.Do("XREADGROUP", "GROUP", "g", "fanin", "COUNT", "2", "STREAMS", "logs", ">")
		late += add(s, i+2, i+5)
	}
	want += late
	waittest.UntilEqual(t, "the log", "", func() string { return notOnce(all(m), want) })
	waittest.UntilEqual(t, "pending entries", "0", pending)
	c.settled(s)
	c.stop()
	c = collect(t, s, m, groupOf)
	want += add(s, 60, 61)
	waittest.UntilEqual(t, "the log", "", func() string { return notOnce(all(m), want) })
	c.settled(s)
	if said := c.said(); said != "" || count(c.Metrics.missed) != 0 {
		t.Errorf("it reported %s", said)
	}
}
