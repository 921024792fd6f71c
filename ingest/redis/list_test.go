package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"fanin/internal/counters"
	"fanin/internal/redisconn"
	"fanin/internal/redistest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// listOf empties the list "queue".
func listOf(n *Input) { n.Lists.Keys = []string{"queue"} }

// push appends elements to the list "queue", and returns their lines.
func push(s *redistest.Server, from, to int) (text string) {
	args := []string{"RPUSH", "queue"}
	for i := from; i < to; i++ {
		line := fmt.Sprintf("element %d", i)
		args, text = append(args, line), text+line+"\n"
	}
	s.Do(args...)
	return text
}

// all is the text of all batches in a log, in the order of their commits.
func all(m *appendertest.Memory) (text string) {
	for _, b := range m.Kept() {
		text += string(b.Text)
	}
	return text
}

func waitAll(t testing.TB, m *appendertest.Memory, want string) {
	t.Helper()
	waittest.UntilEqual(t, "the log", want, func() string { return all(m) })
}

// TestListOnce: elements are in the log once and in order, and then nowhere on the server: those that
// were there, those that come, and those of a batch whose commit, or whose deletion, was interrupted.
func TestListOnce(t *testing.T) {
	s := redistest.New(t, "appendonly yes", "appendfsync always")
	m := new(appendertest.Memory)
	want := push(s, 0, 100)
	c := collect(t, s, m, listOf)
	waitAll(t, m, want)
	want += push(s, 100, 110)
	waitAll(t, m, want)
	c.stop()

	// The collector is killed before the commit: the batch stays.
	m.Before = func(context.Context, wire.Batch) error { return errors.New("killed") }
	want += push(s, 110, 120)
	c = collect(t, s, m, listOf)
	waittest.UntilEqual(t, "elements in the list", "0", func() string { return s.Do("LLEN", "queue") })
	c.stop()
	m.Before = nil
	want += push(s, 120, 130)
	c = collect(t, s, m, listOf)
	waitAll(t, m, want)
	c.stop()

	// The server is killed after the commit, before it deletes the batch.
	m.After = func(_ context.Context, _ wire.Batch, err error) error { s.Kill(); return err }
	want += push(s, 130, 140)
	c = collect(t, s, m, listOf)
	waitAll(t, m, want)
	c.stop()
	m.After = nil
	s.Start()
	c = collect(t, s, m, listOf)
	want += push(s, 140, 150)
	waitAll(t, m, want)
	if got := count(c.Metrics.repeats); got != 1 {
		t.Errorf("%d batches were repeated", got)
	}
	waittest.UntilEqual(t, "the keys on the server", "{queue}:fanin", func() string { return s.Do("KEYS", "*") })
	if said := c.said(); said != "" {
		t.Errorf("it reported %s", said)
	}
}

// TestListLost: a server that lost what it did last has the elements again. In the same batch, they
// are known; else they are in the log twice, and that is reported.
func TestListLost(t *testing.T) {
	for name, more := range map[string]int{"the same batch": 0, "another batch": 1} {
		t.Run(name, func(t *testing.T) {
			s := redistest.New(t)
			m := new(appendertest.Memory)
			want := push(s, 0, 10)
			c := collect(t, s, m, listOf)
			waitAll(t, m, want)
			c.stop()
			again := push(s, 10, 20)
			s.Do("SAVE")
			c = collect(t, s, m, listOf)
			want += again
			waitAll(t, m, want)
			waittest.UntilEqual(t, "the keys on the server", "{queue}:fanin", func() string { return s.Do("KEYS", "*") })
			s.Kill()
			s.Set("user default on nopass ~* &* +@all -eval") // no batch is made yet
			s.Start()
			if more > 0 {
				want += again + push(s, 20, 20+more)
			}
			waittest.Until(t, "the notice", func() bool { return strings.Contains(c.said(), "NOTE list=queue batch=1 before=2") })
			s.Do("ACL", "SETUSER", "default", "+eval")
			if more == 0 {
				waittest.Until(t, "repeats", func() bool { return count(c.Metrics.repeats) > 0 }) // of one batch or several
			} else {
				waitAll(t, m, want)
			}
			want += push(s, 30, 40)
			waitAll(t, m, want)
		})
	}
}

// TestListLostAway: it is noticed, too, when the collector was away, for its log remembers the number.
func TestListLostAway(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	x := new(extensions)
	x.of(m)
	options := func(n *Input) { listOf(n); n.Remembered = x.remembered }
	want := ""
	for i := range 3 {
		if want += push(s, 10*i, 10*i+10); i == 2 {
			s.Do("SAVE")
		}
		c := collect(t, s, m, options)
		waitAll(t, m, want)
		c.stop()
		if said := c.said(); said != "" {
			t.Errorf("it reported %s", said)
		}
	}
	s.Kill()
	s.Start()
	c := collect(t, s, m, options)
	waittest.Until(t, "the notice", func() bool { return strings.Contains(c.said(), "NOTE list=queue batch=2 before=3") })
	want += push(s, 100, 110)
	waittest.Until(t, "the end", func() bool { return strings.HasSuffix(all(m), "element 109\n") })
}

// TestListElements: what becomes of elements.
func TestListElements(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	x := strings.Repeat("x", 100_000)
	s.Do("RPUSH", "queue", "one", "", "two\nlines\n", strings.Repeat("y", 200_000), "\x00binary\xff")
	want := "one\ntwo\nlines\n\x00binary\xff\n"
	for range 30 { // several batches, divided by their size
		s.Do("RPUSH", "queue", x)
		want += x + "\n"
	}
	for i := range 3 {
		want += push(s, 5000*i, 5000*i+5000) // and by their number
	}
	c := collect(t, s, m, func(n *Input) { listOf(n); n.Client.MaxBulk = 150_000 })
	waitAll(t, m, want)
	waittest.UntilEqual(t, "elements that are too large", 1, func() int { return count(c.Metrics.tooLarge) })
	if got := count(c.Metrics.empty); got != 1 {
		t.Errorf("%d elements are empty", got)
	}
	if said := c.said(); !strings.HasPrefix(said, "LOST n=1 unit=elements reason=redis-too-large list=queue") {
		t.Errorf("it reported %s", said)
	}
}

// TestListTrouble: what keeps a list from being read is the trouble, with a remedy, and nothing is lost.
func TestListTrouble(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	s.Do("SET", "queue", "text")
	c := collect(t, s, m, listOf)
	waittest.Until(t, "the wrong type", func() bool { return strings.Contains(c.Trouble(), "choose another key") })
	s.Do("DEL", "queue")
	s.Do("ACL", "SETUSER", "default", "-eval")
	want := push(s, 0, 10)
	waittest.Until(t, "the missing permission", func() bool { return strings.Contains(c.Trouble(), "ACL SETUSER") })
	s.Do("ACL", "SETUSER", "default", "+eval")
	waitAll(t, m, want)
	waittest.UntilEqual(t, "the trouble", "", c.Trouble)
	id, _ := parseBatchID(s.Do("GET", "{queue}:fanin"))
	id.number += 7
	s.Do("SET", "{queue}:fanin", id.String()) // another collector of the same name
	want += push(s, 10, 20)
	waitAll(t, m, want)
	waittest.Until(t, "the warning", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return strings.Contains(c.logged.String(), "another process empties a Redis list")
	})
}

// TestListKeys: the keys of a list are in its slot of a Cluster, if any can be.
func TestListKeys(t *testing.T) {
	for _, list := range []string{"queue", "a{tag}b", "{tag}", "a{b", "ü"} {
		r := newListReader(&Input{Inputs: new(counters.Set), Streams: StreamOptions{Consumer: "fanin"}}, list)
		for _, key := range []string{r.counterKey(), r.batchKey(7)} {
			if redisconn.Slot(key) != redisconn.Slot(list) {
				t.Errorf("%q is not in the slot of %q", key, list)
			}
		}
	}
}
