package collector

import (
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanin/internal/access"
	"fanin/internal/natstest"
	"fanin/internal/waittest"
)

// shown are all lines of the log, each behind its position.
func (c *server) shown(t *testing.T) (all []string) {
	t.Helper()
	err := socketOf(c.settings.state()).askFor(t.Context(), "GET", "/tail?from=start&follow=0", func(r io.Reader) error {
		b, err := io.ReadAll(r)
		for _, event := range strings.Split(string(b), "\n\n") {
			if id, line, ok := strings.Cut(event, "\ndata: "); ok && strings.HasPrefix(id, "id: ") {
				all = append(all, id[len("id: "):]+" "+line)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// audits are the notices of the audit in the log.
func (c *server) audits(t *testing.T) (all []string) {
	t.Helper()
	for _, line := range c.shown(t) {
		if _, text, ok := strings.Cut(line, " fanin: AUDIT "); ok {
			all = append(all, text)
		}
	}
	return all
}

// TestAudit: what is changed becomes a line of the log, with its author; what cannot be is none.
func TestAudit(t *testing.T) {
	config, _ := granting(t, true)
	c, _ := configured(t, config+"[[collector.zmq]]\n[collector.zmq.status]\nrep = \"tcp://127.0.0.1:0\"\ncontrol = true\n")
	c.send(t, "hello")
	group(t, c, "g", "work")
	me := fmt.Sprintf("uid %d pid %d", os.Getuid(), os.Getpid())
	admin := "token admin at 127.0.0.1"
	steps := []struct{ method, path, by, want string }{
		{"POST", "/rotate", me, "request=rotate by=%q"},
		{"POST", "/rotate", admin, "request=rotate by=%q"},
		{"POST", "/replay?group=g&from=start", admin, "request=replay?from=start&group=g by=%q"},
		{"POST", "/forget?group=" + url.QueryEscape("no such\ngroup"), admin, "request=forget?group=no+such%%0Agroup by=%q error=\"no such group"},
		{"POST", "/forget?group=g", me, "request=forget?group=g by=%q"},
		{"POST", "/streams/forget?agent=none", me, "request=streams/forget?agent=none by=%q"},
		{"POST", "/reload", admin, "request=reload by=%q"},
		{"POST", "/reopen", me, "request=reopen by=%q"},
		{"POST", "/checkpoint", me, ""}, {"GET", "/status", me, ""}, {"GET", "/status", admin, ""},
	}
	var want []string
	for i, s := range steps {
		c.send(t, fmt.Sprint("line ", i))
		if s.by == me {
			c.asked(t, s.method, s.path)
		} else {
			c.overWeb(t, s.method, s.path, "Authorization", "Bearer admin")
		}
		if s.want == "" {
			continue
		}
		want = append(want, fmt.Sprintf(s.want, s.by))
		waittest.UntilEqual(t, "notices after "+s.path, len(want), func() int { return len(c.audits(t)) })
	}
	defer func() { // the last one, which is in the live file
		path := c.sink.Status().Path
		c.overWeb(t, "POST", "/drain", "Authorization", "Bearer admin")
		waittest.Until(t, "the notice of the drain", func() bool {
			b, err := os.ReadFile(path)
			return err == nil && strings.Contains(string(b), fmt.Sprintf("AUDIT request=drain by=%q", admin))
		})
	}()
	for i, got := range c.audits(t) {
		if !strings.HasPrefix(got, want[i]) {
			t.Errorf("notice %d is %s, want %s", i, got, want[i])
		}
	}
}

// TestAuditAuthors: what is asked for over NATS and ZeroMQ, and by a signal, has its author, too.
func TestAuditAuthors(t *testing.T) {
	server := natstest.New(t)
	c, _ := configured(t, fmt.Sprintf("[[collector.nats]]\nurl = %q\n", server.ClientURL()))
	nc := server.Connect()
	defer nc.Close()
	c.send(t, "hello")
	waittest.Until(t, "a rotation over NATS", func() bool {
		m, err := nc.Request("fanin.svc.collector."+c.id()+".rotate", nil, time.Minute)
		return err == nil && strings.Contains(string(m.Data), `"generation":1`)
	})
	c.send(t, "again")
	x := newZMQRep(c, true)
	over := access.With(t.Context(), access.Caller{Kind: "ZeroMQ", Peer: access.Peer{Address: netip.MustParseAddr("192.0.2.7")}})
	if got := string(x.answer(over, [][]byte{[]byte("rotate")})); !strings.Contains(got, `"generation":2`) {
		t.Errorf("over ZeroMQ: %s", got)
	}
	c.signals <- syscall.SIGHUP
	want := []string{`request=rotate by="NATS"`, `request=rotate by="ZeroMQ at 192.0.2.7"`, `request=reload by="signal hangup"`}
	waittest.UntilEqual(t, "notices", len(want), func() int { return len(c.audits(t)) })
	for i, got := range c.audits(t) {
		if got != want[i] {
			t.Errorf("notice %d is %s, want %s", i, got, want[i])
		}
	}
}

// TestAuditLogin: failed logins of any kind become lines, as many as their bound allows.
func TestAuditLogin(t *testing.T) {
	config, _ := granting(t, true)
	c, _ := configured(t, config)
	for i := range 50 {
		code, text, resp := c.overWeb(t, "GET", "/status", "Authorization", "Bearer wrong")
		want := 401
		if i >= 10 {
			want = 429
		}
		if code != want || (want == 429) != (resp.Header.Get("Retry-After") == "60") {
			t.Errorf("attempt %d: %d %q", i, code, text)
		}
	}
	if _, resp := c.loggedIn(t, "wrong"); resp.StatusCode != 429 {
		t.Errorf("the form answers %d", resp.StatusCode)
	}
	if cookie, _ := c.loggedIn(t, "read"); cookie == "" {
		t.Error("the right token is refused")
	}
	waittest.UntilEqual(t, "notices", 10, func() int { return len(c.audits(t)) })
	for _, got := range c.audits(t) {
		if !regexp.MustCompile(`^request=login by="address 127.0.0.1" failures=1 error="unknown token"$`).MatchString(got) {
			t.Errorf("a notice is %s", got)
		}
	}
}

// TestRotateTwice: a file whose only line would be the notice of its rotation is never made.
func TestRotateTwice(t *testing.T) {
	c, _ := configured(t, "")
	c.send(t, "hello")
	for i, want := range []string{`"name":"all-`, `"name":""`, `"name":""`} {
		if got := c.asked(t, "POST", "/rotate"); !strings.Contains(got, want) {
			t.Errorf("rotation %d answers %s, want %s", i, got, want)
		}
	}
	if got := c.audits(t); len(got) != 1 {
		t.Errorf("the notices are %q", got)
	}
	if all := c.shown(t); len(all) != 2 || !strings.HasPrefix(all[0], "1:") || !strings.HasPrefix(all[1], "1:") || !strings.Contains(all[1], "fanin: AUDIT request=rotate") {
		t.Errorf("the log is %q; want both lines in the file that was closed", all)
	}
}

// peerLines is how many lines of the live file are not notices.
func (c *server) peerLines(t *testing.T) (n uint64) {
	t.Helper()
	b, err := os.ReadFile(c.sink.Status().Path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, " fanin: ") {
			n++
		}
	}
	return n
}
