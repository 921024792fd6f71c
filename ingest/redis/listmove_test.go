package redis

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/redistest"
	"fanin/internal/waittest"
	"fanin/internal/wire/appendertest"
)

// TestListRefused: a server that refuses a step of the script keeps all elements, and they are in the log
// once when it does not any more.
func TestListRefused(t *testing.T) {
	for _, command := range []string{"rpush", "set", "ltrim", "del", "lrange", "get"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			s := redistest.New(t)
			m := new(appendertest.Memory)
			s.Do("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all", "-"+command)
			want := push(s, 0, 2500) // more than one RPUSH takes
			c := collect(t, s, m, func(n *Input) {
				listOf(n)
				n.Client.Login.User, n.Client.Login.PasswordFile = "reader", filepath.Join(t.TempDir(), "password")
				if err := os.WriteFile(n.Client.Login.PasswordFile, []byte("secret\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			})
			waittest.Until(t, "the trouble", func() bool { return strings.Contains(c.Trouble(), "ACL SETUSER") })
			if length := s.Do("LLEN", "queue"); length != "2500" || s.Do("KEYS", "*") != "queue" {
				t.Errorf("%s elements are left in the list, and these keys: %q", length, s.Do("KEYS", "*"))
			}
			s.Do("ACL", "SETUSER", "reader", "+"+command)
			waitAll(t, m, want)
			if said := c.said(); said != "" {
				t.Errorf("it reported %s", said)
			}
		})
	}
}

// TestListKeysTaken: keys of another program in the place of the batch and its id are left alone.
func TestListKeysTaken(t *testing.T) {
	for _, taken := range []string{"{queue}:fanin", "{queue}:fanin:1"} {
		s := redistest.New(t)
		m := new(appendertest.Memory)
		s.Do("SET", taken, "text")
		want := push(s, 0, 2)
		c := collect(t, s, m, listOf)
		waittest.Until(t, "the trouble", func() bool { return strings.Contains(c.Trouble(), "choose another key") })
		if length := s.Do("LLEN", "queue"); length != "2" || s.Do("GET", taken) != "text" {
			t.Errorf("%s elements are left in the list, and %q", length, s.Do("GET", taken))
		}
		s.Do("DEL", taken)
		waitAll(t, m, want)
	}
}

// TestListForgets: a server that forgets everything, or only the id of the last batch, gives new ids: what
// is then added is in the log, also if it is the same as before. A batch that it has still is, too.
func TestListForgets(t *testing.T) {
	for _, forget := range []string{"FLUSHALL", "DEL {queue}:fanin"} {
		for name, remembered := range map[string]bool{"remembered": true, "new log": false} {
			t.Run(forget+" "+name, func(t *testing.T) {
				s := redistest.New(t)
				m := new(appendertest.Memory)
				x := new(extensions)
				x.of(m)
				options := func(n *Input) {
					if listOf(n); remembered {
						n.Remembered = x.remembered
					}
				}
				want := ""
				for range 3 {
					c := collect(t, s, m, options)
					want += push(s, 0, 2)
					waitAll(t, m, want)
					waittest.UntilEqual(t, "the keys on the server", "{queue}:fanin", func() string { return s.Do("KEYS", "*") })
					c.stop()
					s.Do(strings.Fields(forget)...)
				}
				s.Do("RPUSH", "{queue}:fanin:1", "left") // the server forgot the id alone
				if remembered {
					s.Do("RENAME", "{queue}:fanin:1", "{queue}:fanin:2")
				}
				c := collect(t, s, m, options)
				want += "left\n"
				waitAll(t, m, want)
				want += push(s, 0, 2)
				waitAll(t, m, want)
				if got := count(c.Metrics.repeats); got != 0 {
					t.Errorf("%d batches were taken for repeats", got)
				}
			})
		}
	}
}

// TestListLostThenSame: after a server lost its end and its list was empty, elements that are the same as
// those that it lost are new.
func TestListLostThenSame(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	want := push(s, 0, 2)
	c := collect(t, s, m, listOf)
	waitAll(t, m, want)
	waittest.UntilEqual(t, "the keys on the server", "{queue}:fanin", func() string { return s.Do("KEYS", "*") })
	s.Do("SAVE")
	before := s.Do("GET", "{queue}:fanin")
	want += push(s, 2, 4)
	waitAll(t, m, want)
	s.Kill()
	s.Start()
	waittest.Until(t, "another nonce", func() bool {
		now := s.Do("GET", "{queue}:fanin")
		return now != "" && now[:26] != before[:26]
	})
	want += push(s, 2, 4)
	waitAll(t, m, want)
	if got := strings.Count(c.said(), "NOTE list=queue"); got != 1 {
		t.Errorf("it reported %s", c.said())
	}
}

// TestListSizes: a batch has as many elements as fit, and one at least.
func TestListSizes(t *testing.T) {
	s := redistest.New(t)
	m := new(appendertest.Memory)
	want := ""
	for i := range 40 {
		for _, size := range []int{1, 10, 300_000, 2_000_000}[:1+i%4] { // the last one is split
			x := strings.Repeat("x", size)
			s.Do("RPUSH", "queue", x)
			want += x + "\n"
		}
	}
	collect(t, s, m, func(n *Input) { listOf(n); n.Client.MaxBulk = 3 << 20; n.Lines.MaxLine = 3 << 20 })
	waittest.Until(t, "all elements", func() bool { return len(all(m)) >= strings.Count(want, "x") })
}
