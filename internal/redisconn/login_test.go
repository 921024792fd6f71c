package redisconn_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/certs"
	"fanin/internal/certs/certstest"
	"fanin/internal/redisconn"
	"fanin/internal/redistest"
)

// secret writes a file with a password.
func secret(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// try connects, and returns the reply to a command.
func try(t *testing.T, l redisconn.Login, parts ...string) (string, error) {
	t.Helper()
	conn, err := (&redisconn.Client{Login: l, Name: "test"}).Dial(t.Context(), "")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	v, err := conn.Do(t.Context(), parts...)
	return redistest.Text(v), err
}

// TestLogin: the default user and a user of the ACL log in with a password that is read anew
// for each connection; each mistake is NoAuth; the database is selected, over TCP and a unix
// socket.
func TestLogin(t *testing.T) {
	s := redistest.New(t, "user default on >first ~* &* +@all", "user web on >web-pass ~* &* +@all -client")
	file := secret(t, "first\n")
	url := []string{s.URL()}
	for _, row := range []struct {
		l    redisconn.Login
		want string
	}{
		{redisconn.Login{URLs: url, PasswordFile: file}, "default"},
		{redisconn.Login{URLs: url, User: "default", PasswordFile: file}, "default"},
		{redisconn.Login{URLs: url, User: "web", PasswordFile: secret(t, "web-pass")}, "web"}, // may not set its name
		{redisconn.Login{URLs: []string{"unix://" + filepath.Join(s.Dir(), "sock")}, PasswordFile: file}, "default"},
		{redisconn.Login{URLs: []string{"redis://127.0.0.1:1", s.URL()}, PasswordFile: file}, "default"},
	} {
		if who, err := try(t, row.l, "ACL", "WHOAMI"); who != row.want || err != nil {
			t.Errorf("%+v: %q, %v", row.l, who, err)
		}
	}
	for name, l := range map[string]redisconn.Login{
		"no password":   {URLs: url},
		"another":       {URLs: url, PasswordFile: secret(t, "wrong")},
		"another's":     {URLs: url, User: "web", PasswordFile: file},
		"unknown":       {URLs: url, User: "nobody", PasswordFile: file},
		"no file":       {URLs: url, PasswordFile: file + ".not"},
		"an empty file": {URLs: url, PasswordFile: secret(t, " \n")},
	} {
		if _, err := try(t, l, "PING"); redisconn.Classify(err) != redisconn.NoAuth || !strings.Contains(redisconn.Explain(err), "correct user and password_file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(file, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := &redisconn.Client{Login: redisconn.Login{URLs: []string{s.URL() + "/3"}, PasswordFile: file}, Name: "fanin-test"}
	if _, err := client.Dial(t.Context(), ""); redisconn.Classify(err) != redisconn.NoAuth {
		t.Errorf("a new password that the server does not know yet: %v", err)
	}
	if _, err := try(t, redisconn.Login{URLs: url, User: "web", PasswordFile: secret(t, "web-pass")}, "ACL", "SETUSER", "default", "resetpass", ">second"); err != nil {
		t.Fatal(err)
	}
	conn := dial(t, client)
	v, err := conn.Do(t.Context(), "CLIENT", "INFO")
	if info := redistest.Text(v); err != nil || !strings.Contains(info, " db=3 ") || !strings.Contains(info, " name=fanin-test ") {
		t.Errorf("%q, %v", info, err)
	}
}

// TestTLS: a server that wants certificates lets in who has one of its authority, and is let
// in itself only when its own is good.
func TestTLS(t *testing.T) {
	ca, stranger := certstest.New(t), certstest.New(t)
	root, cert, key := ca.Files(t.TempDir(), ca.Sign("server"))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	ln.Close()
	redistest.New(t, "tls-port "+port, "tls-cert-file "+cert, "tls-key-file "+key, "tls-ca-cert-file "+root)
	login := func(scheme string, f certs.Files) redisconn.Login {
		client, err := f.Client()
		if err != nil {
			t.Fatal(err)
		}
		return redisconn.Login{URLs: []string{scheme + "://127.0.0.1:" + port}, TLS: client, Explain: f.ExplainClient}
	}
	_, mine, mineKey := ca.Files(t.TempDir(), ca.Sign("fanin"))
	other, otherCert, otherKey := stranger.Files(t.TempDir(), stranger.Sign("fanin"))
	good := certs.Files{CA: root, Cert: mine, Key: mineKey}
	for _, scheme := range []string{"redis", "rediss"} {
		if pong, err := try(t, login(scheme, good), "PING"); pong != "PONG" || err != nil {
			t.Errorf("%s: %q, %v", scheme, pong, err)
		}
	}
	for what, f := range map[string]certs.Files{
		"no certificate":                   {CA: root},
		"another authority's certificate":  {CA: root, Cert: otherCert, Key: otherKey},
		"a server of another authority":    {CA: other, Cert: mine, Key: mineKey},
		"a server of another name":         {CA: root, Cert: mine, Key: mineKey, ServerName: "elsewhere"},
		"a server of no authority we know": {Cert: mine, Key: mineKey},
	} {
		if _, err := try(t, login("redis", f), "PING"); redisconn.Classify(err) != redisconn.Away {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := try(t, redisconn.Login{URLs: []string{"redis://127.0.0.1:" + port}}, "PING"); err == nil {
		t.Error("a connection without TLS was accepted")
	}
	if _, err := try(t, redisconn.Login{URLs: []string{"rediss://127.0.0.1:" + port}}, "PING"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("rediss:// alone accepted a server that the system does not trust: %v", err)
	}
}

// TestMistakes: each error names the remedy.
func TestMistakes(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	if err := os.WriteFile(open, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for want, l := range map[string]redisconn.Login{
		"give user and password_file": {URLs: []string{"redis://web:s3cret@127.0.0.1:6379"}},
		"want redis://HOST:PORT":      {URLs: []string{"http://127.0.0.1:6379"}},
		"or unix:///PATH":             {URLs: []string{"unix://sock"}},
		"without anything behind it":  {URLs: []string{"redis://127.0.0.1/0?timeout=3"}},
		"the database is \"x\"":       {URLs: []string{"redis://127.0.0.1/x"}},
		"the database is \"-1\"":      {URLs: []string{"redis://127.0.0.1/-1"}},
		"the databases 0 and 1":       {URLs: []string{"redis://a", "redis://b/1"}},
		"only the database 0":         {URLs: []string{"redis://a/1"}, Cluster: true},
		"not both":                    {URLs: []string{"redis://a"}, Cluster: true, Sentinel: "m"},
		"lead to Sentinels":           {URLs: []string{"unix:///a"}, Sentinel: "m"},
		"no address":                  {},
		"user needs password_file":    {URLs: []string{"redis://a"}, User: "web"},
		"chmod 0640":                  {URLs: []string{"redis://a"}, PasswordFile: open},
	} {
		if err := l.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", l, err, want)
		}
	}
	for url, want := range map[string]bool{"redis://127.0.0.1:1": true, "redis://localhost": true, "redis://[::1]:1/2": true, "unix:///run/redis.sock": true,
		"rediss://example.com": true, "redis://example.com": false, "redis://10.0.0.1:6379": false, "redis://127.0.0.1.example.com": false, "::": false} {
		l := redisconn.Login{URLs: []string{"redis://127.0.0.1", url}}
		if l.Encrypted() != want {
			t.Errorf("%s: encrypted or local: %v", url, !want)
		}
		l.TLS = func() *tls.Config { return nil }
		if !l.Encrypted() {
			t.Errorf("%s: not encrypted with TLS", url)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&redisconn.Client{Login: redisconn.Login{URLs: []string{"redis://127.0.0.1:1"}}}).Dial(ctx, ""); err == nil || strings.Contains(redisconn.Explain(err), "start the server") {
		t.Errorf("a dial that was given up: %v", redisconn.Explain(err))
	}
}
