package fanin_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The recipe of docs/certificates.md, followed to the letter, lets a line through;
// without its certificates nothing comes through.
func TestCertificates(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	if out, err := shell(t, dir, strings.Join(blocks(t, "docs/certificates.md", "test"), "")); err != nil {
		t.Fatalf("the recipe: %v\n%s", err, out)
	}
	address := startTLSCollector(t, dir)
	log := filepath.Join(dir, "all.log")

	t.Run("agent with a certificate", func(t *testing.T) {
		agent := startTLSAgent(t, dir, address, "web-1", `ca = "ca.crt", cert = "web-1.crt", key = "web-1.key"`)
		awaitLine(t, log, "a line of web-1")
		agent.stop()
	})
	t.Run("plain line with a certificate", func(t *testing.T) {
		try := blocks(t, "docs/certificates.md", "try")[0]
		if out, err := shell(t, dir, try, "COLLECTOR="+address); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		awaitLine(t, log, "tcp: hello")
	})
	t.Run("agent without a certificate", func(t *testing.T) {
		agent := startTLSAgent(t, dir, address, "web-2", `ca = "ca.crt"`)
		agent.wait("certificate required|bad certificate")
	})
	t.Run("agent with another's certificate", func(t *testing.T) {
		agent := startTLSAgent(t, dir, address, "web-3", `ca = "ca.crt", cert = "web-1.crt", key = "web-1.key"`)
		agent.wait("not a name in the agent's certificate")
	})
	t.Run("agent that trusts another authority", func(t *testing.T) {
		agent := startTLSAgent(t, dir, address, "web-4", `ca = "web-1.crt", cert = "web-1.crt", key = "web-1.key"`)
		agent.wait("unknown authority")
	})
	t.Run("plain line without a certificate", func(t *testing.T) { sendUncertified(t, dir, address) })
	t.Run("plain line without encryption", func(t *testing.T) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(conn, "a line in the clear")
		wantClosed(t, conn)
	})
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"web-2", "web-3", "web-4", "uncertified", "in the clear"} {
		if strings.Contains(string(b), text) {
			t.Errorf("a line that must not get in did: %q in\n%s", text, b)
		}
	}
}

func startTLSCollector(t *testing.T, dir string) (address string) {
	t.Helper()
	config := `
[collector.log]
path = "all.log"
[[collector.tcp]]
listen = "127.0.0.1:0"
tls = {cert = "server.crt", key = "server.key", client_ca = "ca.crt"}
`
	if err := os.WriteFile(filepath.Join(dir, "collector.toml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(filepath.Join(programDir(t), "fanin-collector"), "--config", "collector.toml")
	c.Dir = dir
	return start(t, c).wait("^listening tls (.*)")
}

func startTLSAgent(t *testing.T, dir, address, id, files string) *process {
	t.Helper()
	config := fmt.Sprintf("[agent]\nid = %q\nstate = %q\nto = [%q]\ntls = {%s}\n[[agent.file]]\npaths = [%q]\n",
		id, filepath.Join(t.TempDir(), "state"), "tls://"+address, files, id+".log")
	for name, text := range map[string]string{id + ".toml": config, id + ".log": "a line of " + id + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(filepath.Join(programDir(t), "fanin-agent"), "--config", id+".toml")
	c.Dir = dir
	return start(t, c)
}

func sendUncertified(t *testing.T, dir, address string) {
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots})
	if err != nil {
		return // refused at once is as good
	}
	fmt.Fprintln(conn, "an uncertified line")
	wantClosed(t, conn)
}

// wantClosed wants the other side to end the connection. What it says before is
// of no interest.
func wantClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(conn)
	for {
		if _, err := in.ReadByte(); err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				t.Errorf("the collector keeps a connection that it must refuse")
			}
			return
		}
	}
}
