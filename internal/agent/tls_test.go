package agent

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/internal/certs"
	"fanin/internal/certs/certstest"
	"fanin/internal/daemon"
)

// TestTLSTrouble: what keeps an agent from a collector is said as what it is, with the
// file and the remedy; real handshakes with a real listener.
func TestTLSTrouble(t *testing.T) {
	ours, theirs := certstest.New(t), certstest.New(t)
	path := write(t, filepath.Join(t.TempDir(), "a.log"), "one\n")
	ca, cert, key := ours.Files(t.TempDir(), ours.Sign("collector"))
	otherCA, otherCert, otherKey := theirs.Files(t.TempDir(), theirs.Sign("a"))
	listen := func(f certs.Files) string {
		config, err := f.Server()
		if err != nil {
			t.Fatal(err)
		}
		_, addr := collectTLS(t, config, nil)
		return addr
	}
	_, plain := collect(t)
	open := listen(certs.Files{Cert: cert, Key: key})
	strict := listen(certs.Files{Cert: cert, Key: key, CA: ca})
	_, oldCert, oldKey := ours.Files(t.TempDir(), ours.SignFor(time.Time{}, time.Now().Add(-time.Hour), []net.IP{net.IPv4(127, 0, 0, 1)}, "old"))
	old := listen(certs.Files{Cert: oldCert, Key: oldKey})
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	go func() { // ends with the listener: a peer that hangs up at once
		for {
			c, err := silent.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(open)
	for name, c := range map[string]struct {
		to, tls string
		words   []string
	}{
		"a port without TLS":             {plain, `{ca = "` + ca + `"}`, []string{"that port does not use TLS: write tcp://"}},
		"a port that hangs up":           {silent.Addr().String(), `{ca = "` + ca + `"}`, []string{"closed the connection during the TLS handshake", "write tcp://"}},
		"an unknown authority":           {open, `{ca = "` + otherCA + `"}`, []string{"is not signed by an authority in " + otherCA, "set ca to"}},
		"a wrong name":                   {"localhost:" + port, `{ca = "` + ca + `"}`, []string{`is for 127.0.0.1, and not for "localhost"`, "server_name"}},
		"an expired certificate":         {old, `{ca = "` + ca + `"}`, []string{"expired at ", "renew it"}},
		"no certificate of the agent":    {strict, `{ca = "` + ca + `"}`, []string{"requires a certificate: set cert and key"}},
		"another's certificate":          {strict, `{ca = "` + ca + `", cert = "` + otherCert + `", key = "` + otherKey + `"}`, []string{"does not accept this side's certificate " + otherCert, "client_ca"}},
		"no TLS on a port that wants it": {"tcp://" + open, "", []string{"this port speaks TLS: use tls://"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(c.to, "://") {
				c.to = "tls://" + c.to
			}
			dir := t.TempDir()
			text := "[agent]\nid = \"a\"\n"
			if c.tls != "" {
				text += "tls = " + c.tls + "\n"
			}
			config := write(t, filepath.Join(dir, "agent.toml"), text)
			code, said := sendFiles(t, c.to, filepath.Join(dir, "state"), "--wait", "700ms", "--config", config, path)
			if code != daemon.ExitUnreachable || strings.Contains(said, "which that port may not speak") {
				t.Errorf("exit %d: %s", code, said)
			}
			for _, w := range c.words {
				if !strings.Contains(said, w) {
					t.Errorf("it says %q, and not %q", said, w)
				}
			}
		})
	}
}
