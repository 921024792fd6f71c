package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/certs/certstest"
)

// Where a collector would not believe the name of this host, lines name the agent's
// id, and a host that is configured always stands.
func TestDefaultHost(t *testing.T) {
	here, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	ca := certstest.New(t)
	cert := func(dns ...string) string {
		ca, cert, key := ca.Files(t.TempDir(), ca.Sign("a", dns...))
		return `tls = {ca = "` + ca + `", cert = "` + cert + `", key = "` + key + `"}`
	}
	for name, x := range map[string]struct{ to, more, want string }{
		"tcp":                                   {"tcp://127.0.0.1:1", "", here},
		"udp":                                   {"udp://127.0.0.1:1", "", here},
		"nats":                                  {"nats://127.0.0.1:1", "", "a"},
		"a certificate of this host":            {"tls://127.0.0.1:1", cert("a", here), here},
		"a certificate of the agent alone":      {"tls://127.0.0.1:1", cert("a"), "a"},
		"nats, with a certificate of this host": {"nats://127.0.0.1:1", cert("a", here), "a"},
		"nats, and a host is configured":        {"nats://127.0.0.1:1", `host = "web"`, "web"},
		"a certificate, and a host is configured": {"tls://127.0.0.1:1", cert("a") + "\nhost = \"web\"", "web"},
	} {
		path := write(t, filepath.Join(t.TempDir(), "agent.toml"), strings.Join([]string{"[agent]", `id = "a"`, `to = ["` + x.to + `"]`, x.more,
			"[[agent.file]]", `paths = ["/var/log/*.log"]`}, "\n"))
		s, err := (&options{config: path}).load(nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if s.Agent.Host != x.want {
			t.Errorf("%s: lines name %q, want %q", name, s.Agent.Host, x.want)
		}
	}
}
