package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// Ports beyond loopback without TLS are found.
func TestPlain(t *testing.T) {
	has(t, "open", Plain([]Listener{{"collector.tcp[0].listen", "tcp", "0.0.0.0:1", false}, {"collector.udp[0].listen", "udp", ":2", false}}),
		"risk:tcp 0.0.0.0:1", "risk:udp :2")
	has(t, "closed", Plain([]Listener{{"a", "tcp", "0.0.0.0:1", true}, {"b", "tcp", "127.0.0.1:1", false}, {"c", "tcp", "[::1]:1", false},
		{"d", "udp", "localhost:1", false}}))
}

// Certificates that expire soon are found; short lives are long enough.
func TestExpiry(t *testing.T) {
	now, day := time.Unix(1e9, 0), 24*time.Hour
	has(t, "soon", Expiry(now, []Certificate{{"a", now.Add(-300 * day), now.Add(20 * day)}}), "risk:in 20 days")
	has(t, "a short life", Expiry(now, []Certificate{{"a", now.Add(-20 * day), now.Add(5 * day)}}), "risk:in 5 days")
	has(t, "later", Expiry(now, []Certificate{{"a", now.Add(-300 * day), now.Add(40 * day)}, {"b", now.Add(-day), now.Add(6 * day)}}))
}

// A collector that cannot be reached is found, with what did not work.
func TestReach(t *testing.T) {
	good, bad := func(string) error { return nil }, func(string) error { return errors.New("no such host") }
	has(t, "no name", Reach([]string{"a:1"}, bad, good), "wrong:no such host")
	found := Reach([]string{"a:1", "b:1"}, good, func(a string) error {
		if a == "b:1" {
			return errors.New("the certificate is of another authority")
		}
		return nil
	})
	has(t, "a certificate", found, "wrong:another authority")
	if !strings.Contains(found[0].Remedy, "agent.tls") || found[0].Where != "b:1" {
		t.Errorf("found %+v", found)
	}
	has(t, "reached", Reach([]string{"a:1"}, good, good))
}

// Groups for which the log is not kept long enough are found.
func TestBehind(t *testing.T) {
	has(t, "lost", Behind([]Group{{Name: "g", Expired: 3}}, Kept{}), "wrong:3 lines")
	has(t, "bytes", Behind([]Group{{Name: "g", Bytes: 6 << 30}}, Kept{Bytes: 10 << 30}), "risk:behind by 6144MiB, and 10GiB are kept")
	has(t, "age", Behind([]Group{{Name: "g", Age: 2 * time.Hour}}, Kept{Age: 3 * time.Hour}), "risk:behind by 2h0m0s")
	has(t, "near", Behind([]Group{{Name: "g", Bytes: 4 << 30, Age: time.Hour}}, Kept{10 << 30, 3 * time.Hour}))
	has(t, "all is kept", Behind([]Group{{Name: "g", Bytes: 1 << 40, Age: 1e6 * time.Hour}}, Kept{Bytes: -1}))
}

// A pattern that matches nothing, and each line of an error, is a finding.
func TestPatternsAndErrors(t *testing.T) {
	count := func(p string) int { return len(p) - 1 }
	has(t, "patterns", Patterns([]string{"a", "bb"}, count), "risk:no file matches it")
	has(t, "errors", Usable("f", "correct it", errors.Join(errors.New("one\n  6 | x = 0\n    | ^"), errors.New("two"))), "wrong:one", "wrong:two")
	has(t, "no error", Usable("f", "correct it", nil))
}

// A report shows what is wrong first, then risks, and one line of what is fine; names from outside
// are escaped.
func TestReport(t *testing.T) {
	r := Run([]Check{
		{"clock", func() []Finding { return fine("off by 1 ms") }},
		{"ports", func() []Finding { return risk("tcp \x1b[31m", "use TLS", "open") }},
		{"modes", func() []Finding { return nil }},
		{"state", func() []Finding { return wrong("/s", "move it", "on tmpfs") }},
	})
	var out strings.Builder
	r.Print(&out)
	const want = "WRONG  /s: on tmpfs\n       remedy: move it\nrisk   tcp #033[31m: open\n       remedy: use TLS\n" +
		"fine:  clock (off by 1 ms), modes\n"
	if out.String() != want {
		t.Errorf("printed\n%swant\n%s", out.String(), want)
	}
	if r.Count(Wrong) != 1 || r.Count(Risk) != 1 || r[0].Check != "state" {
		t.Errorf("the report is %+v", r)
	}
}
