package collector

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/daemon"
	"fanin/internal/zmtp"
)

// TestZMQConfiguration: mistakes in a table are found before anything opens, and a table
// without one is accepted.
func TestZMQConfiguration(t *testing.T) {
	const key = `"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"`
	for _, c := range []struct{ keys, problem string }{
		{`pull = ["tcp://127.0.0.1:5557"]`, ""},
		{`pull = "tcp://127.0.0.1:5557"`, ""},
		{`pull = "ipc:///run/x.sock"`, ""},
		{`pull = {connect = ["tcp://localhost:5557", "tcp://[::1]:5557"]}`, ""},
		{`sub = {connect = ["tcp://127.0.0.1:5557"], topics = ["a", ""]}` + "\nsequence = true", ""},
		{`sub = {bind = ["tcp://127.0.0.1:5557"]}`, ""},
		{`sub = ["tcp://127.0.0.1:5557"]`, ""},
		{`pull = ["tcp://*:5557"]` + "\n" + `curve = {secret_file = "x"}`, ""},
		{`pull = ["tcp://*:5557"]` + "\ninsecure = true", ""},
		{`sub = {connect = ["tcp://192.0.2.1:5557"]}` + "\n" + `curve = {secret_file = "x", server_key = ` + key + "}", ""},
		{``, "the table has no effect"},
		{`pull = []`, "either to bind or to connect"},
		{`pull = 7`, "pull is 7"},
		{`pull = [7]`, "pull is 7"},
		{`pull = {bind = ["tcp://127.0.0.1:1"], connect = ["tcp://127.0.0.1:2"]}`, "either to bind or to connect"},
		{`pull = ["127.0.0.1:5557"]`, "is no endpoint"},
		{`pull = ["inproc://x"]`, "not supported"},
		{`pull = ["tcp://127.0.0.1:5557", "tcp://127.0.0.1:5557"]`, "twice"},
		{`pull = {connect = ["tcp://127.0.0.1:*"]}`, "can only be bound"},
		{`pull = {conect = ["tcp://127.0.0.1:1"]}`, `did you mean "connect"`},
		{`pull = ["tcp://*:5557"]`, "insecure = true"},
		{`pull = ["tcp://192.0.2.1:5557"]` + "\n" + `plain = {user = "a", password_file = "p"}`, "curve = {"},
		{`sub = {connect = ["tcp://example.org:5557"]}`, "insecure = true"},
		{`sub = {connect = ["tcp://127.0.0.1:5557"]}` + "\n" + `curve = {secret_file = "x"}`, "server_key is missing"},
		{`pull = ["tcp://127.0.0.1:5557"]` + "\n" + `curve = {server_key = ` + key + "}", "secret_file is missing"},
		{`pull = ["tcp://127.0.0.1:5557"]` + "\n" + `curve = {secret_file = "x", server_key = "letmein"}`, "curve.server_key is not a CURVE key"},
		{`pull = ["tcp://127.0.0.1:5557"]` + "\n" + `curve = {secret_file = "x", server_key = ` + key + "}",
			"curve.server_key has no effect"},
		{`sub = {connect = ["tcp://127.0.0.1:5557"]}` + "\n" + `curve = {secret_file = "x", clients_file = "c", server_key = ` + key + "}",
			"curve.clients_file has no effect"},
		{`pull = ["tcp://127.0.0.1:5557"]` + "\n" + `sub = {connect = ["tcp://127.0.0.1:5558"]}` + "\n" +
			`curve = {secret_file = "x", clients_file = "c", server_key = ` + key + "}", ""},
		{`sub = {connect = ["tcp://127.0.0.1:5557"]}` + "\n" + `curve = {secret_file = "x", clients_file = "c", server_key = ` + key + "}\n" +
			"[collector.zmq.output]\n" + `pub = "tcp://127.0.0.1:5558"`, ""},
		{`sub = {connect = ["tcp://127.0.0.1:5557"]}` + "\n" + `curve = {secret_file = "x", clients_file = "c", server_key = ` + key + "}\n" +
			"[collector.zmq.output]\n" + `pub = "tcp://127.0.0.1:5558"` + "\n" + `curve = {secret_file = "x"}`, "curve.clients_file has no effect"},
		{"[collector.zmq.status]\n" + `rep = "tcp://127.0.0.1:5558"` + "\n" + `curve = {secret_file = "x", server_key = ` + key + "}",
			"curve.server_key has no effect"},
		{"[collector.zmq.output]\n" + `push = {connect = ["tcp://127.0.0.1:5558"]}` + "\n" +
			`curve = {secret_file = "x", server_key = ` + key + `, clients_file = "c"}`, "curve.clients_file has no effect"},
		{`pull = ["tcp://127.0.0.1:5557"]` + "\n" + `plain = {user = "a"}`, "plain needs"},
		{`pull = ["tcp://127.0.0.1:5557"]` + "\n" + `plain = {user = "a", password_file = "p"}` + "\n" +
			`curve = {secret_file = "x"}`, "one mechanism"},
		{`pull = ["tcp://127.0.0.1:5557"]` + "\nsequence = true", "it needs sub"},
		{`pull = ["tcp://127.0.0.1:5557"]` + "\nmax_conns = 0", "at least 1"},
		{`pull = ["tcp://127.0.0.1:5557"]` + "\n" + `max_message = "2MiB"`, "want 1KiB to 1MiB"},
		{`pull = ["tcp://127.0.0.1:5557"]` + "\n" + `max_line = "1B"`, "want 256B to 1MiB"},
		{`sub = {connect = ["tcp://127.0.0.1:5557"], topics = ["` + strings.Repeat("x", 256) + `"]}`, "at most 255"},
		{`pull = ["tcp://127.0.0.1:6789"]` + "\n[[collector.tcp]]\n" + `listen = "127.0.0.1:6789"`, "listens already"},
		{`pull = ["tcp://127.0.0.1:6789"]` + "\n[[collector.zmq]]\n" + `sub = "tcp://127.0.0.1:6789"`, "where collector.zmq[0] listens already"},
	} {
		_, err := loadConfig(t, "[collector.log]\npath = \"x\"\n[[collector.zmq]]\n"+c.keys)
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: %v, want %q", c.keys, err, c.problem)
		}
		if err != nil && strings.Contains(err.Error(), "letmein") {
			t.Errorf("%v shows what may be a secret", err)
		}
	}
}

// TestZMQSecrets: a key or a password that cannot be read keeps the collector from starting,
// before anything opens.
func TestZMQSecrets(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	if err := os.WriteFile(open, []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ keys, problem string }{
		{fmt.Sprintf("plain = {user = \"a\", password_file = %q}", filepath.Join(dir, "missing")), "plain.password_file"},
		{fmt.Sprintf("plain = {user = \"a\", password_file = %q}", open), "can be read by every user"},
		{fmt.Sprintf("curve = {secret_file = %q}", filepath.Join(dir, "missing")), "curve.secret_file"},
	} {
		log := filepath.Join(dir, "new", "all.log")
		s, err := loadConfig(t, fmt.Sprintf("[collector.log]\npath = %q\n[[collector.zmq]]\npull = \"tcp://127.0.0.1:0\"\n%s\n", log, c.keys))
		if err != nil {
			t.Fatal(err)
		}
		err = run(t.Context(), s, nil)
		var exit *daemon.Exit
		if !errors.As(err, &exit) || exit.Code != daemon.ExitConfig || !strings.Contains(err.Error(), c.problem) ||
			!strings.Contains(err.Error(), "collector.zmq[0]") {
			t.Errorf("%s: %v, want %q", c.keys, err, c.problem)
		}
		if _, err := os.Stat(filepath.Dir(log)); err == nil {
			t.Errorf("%s: the log was opened", c.keys)
		}
	}
}

// TestCurveKey: the command makes keys that a table accepts, and replaces none.
func TestCurveKey(t *testing.T) {
	name := filepath.Join(t.TempDir(), "fanin")
	make := func() (string, error) {
		var out bytes.Buffer
		c := Command()
		c.SetArgs([]string{"curve-key", name})
		c.SetOut(&out)
		c.SetErr(&out)
		err := c.Execute()
		return strings.TrimSpace(out.String()), err
	}
	public, err := make()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := zmtp.ReadSecretKey(name + ".key_secret")
	if err != nil {
		t.Fatal(err)
	}
	if k, err := secret.Public(); err != nil || k.String() != public {
		t.Errorf("the command printed %q; the key is %s, %v", public, k, err)
	}
	if _, err := make(); err == nil {
		t.Error("the command replaced a key")
	}
	c, _ := configured(t, fmt.Sprintf("[[collector.zmq]]\npull = \"tcp://127.0.0.1:0\"\ncurve = {secret_file = %q}\n", name+".key_secret"))
	_, address, _ := strings.Cut(c.address(t, "zmq"), "tcp://")
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server, err := zmtp.ParseKey(public)
	if err != nil {
		t.Fatal(err)
	}
	mine, err := zmtp.NewSecretKey()
	if err != nil {
		t.Fatal(err)
	}
	peer, err := zmtp.Handshake(t.Context(), nc, &zmtp.Options{Type: zmtp.Push,
		Security: zmtp.Security{Curve: &zmtp.Curve{Secret: mine, ServerKey: server}}})
	if err != nil {
		t.Fatal(err)
	}
	peer.Close()
}
