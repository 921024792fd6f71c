package access

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// tokens is a file of tokens; each name is its token, too.
func tokens(t *testing.T, names ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	write(t, path, lines(names...))
	return path
}

func lines(names ...string) (text string) {
	for _, name := range names {
		text += line(name, name)
	}
	return text
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

func newPolicy(t *testing.T, rules ...Rule) *Policy {
	t.Helper()
	p, err := New(rules, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func from(address string) Peer {
	a, _ := netip.ParseAddr(address)
	return Peer{Address: a}
}

func overTLS(address string, names ...string) Peer {
	p := from(address)
	p.Encrypted, p.Names = true, names
	return p
}

// TestRoles: each way to prove something gives the roles that were granted to it, and no others.
func TestRoles(t *testing.T) {
	network := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	rules := []Rule{
		{Role: Read, Names: []string{"ops-*", "prometheus"}, Tokens: tokens(t, "reader", "both")},
		{Role: Work, Networks: network, Tokens: tokens(t, "worker", "both")},
		{Role: All, Names: []string{"root"}, Tokens: tokens(t, "boss")},
	}
	p := newPolicy(t, rules...)
	for _, row := range []struct {
		peer  Peer
		token string
		want  string
	}{
		{from("127.0.0.1"), "", "address 127.0.0.1:"},
		{from("192.0.2.7"), "", "address 192.0.2.7: work"},
		{from("2001:db8::7"), "", "address 2001:db8::7: work"},
		{from("198.51.100.1"), "", "address 198.51.100.1:"},
		{overTLS("198.51.100.1", "web-1"), "", "certificate web-1:"},
		{overTLS("198.51.100.1", "web-1", "ops-7"), "", "certificate ops-7: read"},
		{overTLS("198.51.100.1", "root"), "", "certificate root: read, work, admin"},
		{overTLS("198.51.100.1", "xroot", ""), "", "certificate xroot:"},
		{overTLS("192.0.2.7", "ops-1"), "", "certificate ops-1: read, work"},
		{overTLS("198.51.100.1"), "reader", "token reader: read"},
		{from("127.0.0.1"), "worker", "token worker: work"},
		{from("::1"), "both", "token both: read, work"},
		{overTLS("198.51.100.1", "ops-1"), "worker", "token worker: read, work"},
		{overTLS("198.51.100.1", "web-1"), "boss", "token boss: read, work, admin"},
		{Peer{}, "boss", "token boss: read, work, admin"},
	} {
		c := p.Anonymous(row.peer)
		if row.token != "" {
			var err error
			if c, err = p.Identify(row.peer, row.token); err != nil {
				t.Errorf("%+v, %s: %v", row.peer, row.token, err)
			}
		}
		if got := strings.TrimSpace(c.String() + ": " + c.Roles.String()); got != row.want {
			t.Errorf("%+v with the token %q is %s, want %s", row.peer, row.token, got, row.want)
		}
	}
	local := newPolicy(t, Local()...)
	for address, want := range map[string]Role{"127.0.0.1": Read | Work, "127.9.9.9": Read | Work, "::1": Read | Work, "192.0.2.1": 0, "::2": 0, "": 0} {
		if got := local.Anonymous(from(address)).Roles; got != want {
			t.Errorf("without rules %s has %s, want %s", address, got, want)
		}
	}
}

// TestIdentifyRefuses: a token that is not known, and one that others could read on the way.
func TestIdentifyRefuses(t *testing.T) {
	p := newPolicy(t, Rule{Role: Read, Tokens: tokens(t, "reader")})
	for _, row := range []struct {
		peer   Peer
		token  string
		reason string
	}{
		{from("127.0.0.1"), "reade", ReasonToken}, {from("127.0.0.1"), "", ReasonToken}, {from("127.0.0.1"), "reader ", ReasonToken},
		{from("127.0.0.1"), strings.Repeat("x", 1<<20), ReasonToken}, {overTLS("192.0.2.1"), "READER", ReasonToken},
		{from("192.0.2.1"), "reader", ReasonUnencrypted}, {from("192.0.2.1"), "wrong", ReasonUnencrypted}, {from("::ffff:192.0.2.1"), "reader", ReasonUnencrypted},
	} {
		_, err := p.Identify(row.peer, row.token)
		if why, ok := err.(*Refused); !ok || why.Reason != row.reason {
			t.Errorf("%+v, %.20s: %v, want %s", row.peer, row.token, err, row.reason)
		}
	}
	if !p.LogsIn(overTLS("192.0.2.1")) || p.LogsIn(from("192.0.2.1")) || !p.LogsIn(from("::1")) || newPolicy(t, Local()...).LogsIn(from("::1")) {
		t.Error("a login is possible where it is not, or is not where it is")
	}
	if err := Require(Caller{Peer: from("192.0.2.1"), Kind: "address", Name: "192.0.2.1"}, Admin); err == nil || !strings.Contains(err.Error(), "the role admin") {
		t.Errorf("%v", err)
	}
}

// TestTokensFile: a file that changes counts from the next look on. While it cannot be used, the
// tokens that it had count, which is reported once.
func TestTokensFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := tokens(t, "a", "b")
		var log bytes.Buffer
		p, err := New([]Rule{{Role: Read, Tokens: path}}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		step := func(when, known string, reports int, broken bool) {
			t.Helper()
			log.Reset()
			for range 5 { // it is looked at every second
				time.Sleep(time.Second)
				p.Look()
			}
			got := ""
			for _, token := range []string{"a", "b", "c"} {
				if _, err := p.Identify(from("127.0.0.1"), token); err == nil {
					got += token
				}
			}
			if n := strings.Count(log.String(), "level=ERROR"); got != known || n != reports {
				t.Errorf("%s: the tokens %q, want %q; %d reports, want %d:\n%s", when, got, known, n, reports, log.String())
			}
			if n, bad := p.Tokens(); n != len(known) || (bad == 1) != broken {
				t.Errorf("%s: %d tokens and %d broken files are counted", when, n, bad)
			}
		}
		changes := time.Unix(1_700_000_000, 0)
		write := func(t *testing.T, path, text string) {
			write(t, path, text)
			changes = changes.Add(time.Minute) // two changes within a step of the clock would look the same
			os.Chtimes(path, time.Time{}, changes)
		}
		step("at first", "ab", 0, false)
		write(t, path, lines("a"))
		step("with one line less", "a", 0, false)
		write(t, path, lines("c"))
		step("with another line of the same size", "c", 0, false)
		write(t, path, lines("c")+"b sha25")
		step("with half a line", "c", 1, true)
		write(t, path, lines("c", "b"))
		step("when the line is whole", "bc", 0, false)
		if err := os.Chmod(path, 0o666); err != nil {
			t.Fatal(err)
		}
		os.Chtimes(path, time.Time{}, changes.Add(time.Second))
		step("when every user can change it", "bc", 1, true)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		step("without the file", "bc", 1, true)
		write(t, path, "# none\r\n")
		step("with an empty file", "", 0, false)
		if !strings.Contains(log.String(), "no login works with it") {
			t.Errorf("an empty file is reported as %q", log.String())
		}
		write(t, path, lines("a"))
		step("again", "a", 0, false)
	})
}

// TestRecentFile: a file that was changed just now is read again, since another change at the same
// moment would look the same.
func TestRecentFile(t *testing.T) {
	path := tokens(t, "a")
	at := time.Now().Truncate(time.Second)
	f := &tokensFile{path: path}
	has := func(name string, now time.Time) bool {
		f.look(now)
		return tokenName(f.tokens, new(HashOf(name))) != ""
	}
	same := func(name string) { // the same size, the same inode, the same time
		write(t, path, lines(name))
		if err := os.Chtimes(path, time.Time{}, at); err != nil {
			t.Fatal(err)
		}
	}
	same("a")
	if !has("a", at.Add(time.Second)) {
		t.Error("the file is not read")
	}
	same("b")
	if !has("b", at.Add(2*time.Second)) {
		t.Error("a change at the same moment is missed")
	}
	has("b", at.Add(time.Minute))
	same("c")
	if has("c", at.Add(2*time.Minute)) {
		t.Error("a file that did not change for long is read each time")
	}
}

// TestUse: other rules count at once, or none of them does.
func TestUse(t *testing.T) {
	p := newPolicy(t, Local()...)
	if err := p.Use([]Rule{{Role: Read, Tokens: filepath.Join(t.TempDir(), "none")}}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a missing file: %v", err)
	}
	if !p.Anonymous(from("127.0.0.1")).Roles.Has(Read | Work) {
		t.Error("rules that were refused count")
	}
	if err := p.Use([]Rule{{Role: Work, Tokens: tokens(t, "a")}}); err != nil {
		t.Fatal(err)
	}
	if c, err := p.Identify(from("127.0.0.1"), "a"); err != nil || c.Roles != Work || p.Anonymous(from("127.0.0.1")).Roles != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	open := filepath.Join(t.TempDir(), "tokens")
	write(t, open, lines("a"))
	if err := os.Chmod(open, 0o642); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{open: "chmod 0640 " + open, t.TempDir(): "directory", "/dev/null": "device"} {
		if err := Check([]Rule{{Role: Read, Tokens: path}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// TestHold: what is open ends when its caller loses the role, and nothing else does.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := tokens(t, "a", "b")
		p := newPolicy(t, Rule{Role: Read, Tokens: path}, Rule{Role: Read | Work, Networks: Local()[0].Networks}, Rule{Role: Read, Names: []string{"ops"}})
		p.OpenKey(filepath.Join(t.TempDir(), "key"), p.log)
		ended := make(map[string]int)
		held := func(name string, c Caller, need Role) { p.Hold(c, need, func() { ended[name]++ }) }
		far := overTLS("192.0.2.1")
		for _, name := range []string{"a", "b"} {
			c, err := p.Identify(far, name)
			if err != nil {
				t.Fatal(err)
			}
			held("token "+name, c, Read)
			cookie := p.Begin(c)
			s, ok := p.Resume(far, cookie)
			if !ok || !s.InSession() {
				t.Fatalf("the session of %s: %+v", name, s)
			}
			held("session "+name, s, Read)
			p.Hold(s, Read, func() { t.Error("what was released is ended") })()
			if name == "b" {
				out, _ := p.Resume(far, p.Begin(c))
				held("logged out", out, Read)
				p.Finish(out)
			}
		}
		held("local", p.Anonymous(from("127.0.0.1")), Work)
		held("certificate", p.Anonymous(overTLS("192.0.2.1", "ops")), Read)
		is := func(when string, want ...string) {
			t.Helper()
			for _, name := range want {
				if ended[name] != 1 {
					t.Errorf("%s %s ended %d times", when, name, ended[name])
				}
				delete(ended, name)
			}
			if len(ended) > 0 {
				t.Errorf("%s these ended, too: %v", when, ended)
			}
		}
		is("after a logout", "logged out")
		write(t, path, lines("b"))
		time.Sleep(time.Second)
		p.Look()
		is("without the token", "token a", "session a")
		time.Sleep(SessionTime + time.Second)
		p.Look()
		is("after 12 hours", "session b")
		if err := p.Use([]Rule{{Role: Read, Names: []string{"ops"}}}); err != nil {
			t.Fatal(err)
		}
		is("with other rules", "token b", "local")
	})
}

// TestHoldTooLate: a role that is lost after its caller was identified, and before what it opens is
// held, does not stay in use.
func TestHoldTooLate(t *testing.T) {
	p := newPolicy(t, Rule{Role: Read, Names: []string{"ops-*"}})
	c := p.Anonymous(overTLS("192.0.2.1", "ops-1"))
	if err := Require(c, Read); err != nil {
		t.Fatal(err)
	}
	if err := p.Use(nil); err != nil {
		t.Fatal(err)
	}
	ended := false
	defer p.Hold(c, Read, func() { ended = true })()
	if p.Look(); !ended {
		t.Error("what was opened goes on")
	}
}
