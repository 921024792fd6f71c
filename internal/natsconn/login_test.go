package natsconn

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"fanin/internal/certs"
	"fanin/internal/certs/certstest"
	"fanin/internal/natstest"
	"fanin/internal/waittest"
)

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	os.Chmod(path, mode)
	return path
}

// TestLogin: a server accepts each kind of secret, and rejects a wrong one.
func TestLogin(t *testing.T) {
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := user.Seed()
	public, _ := user.PublicKey()
	other, _ := nkeys.CreateUser()
	otherSeed, _ := other.Seed()
	operator, creds, otherCreds := operated(t)
	for name, c := range map[string]struct {
		server       func(*server.Options)
		right, wrong Login
	}{
		"creds": {operator, Login{CredsFile: write(t, creds, 0o600)}, Login{CredsFile: write(t, otherCreds, 0o600)}},
		"password": {func(o *server.Options) { o.Username, o.Password = "web", "s3cret" },
			Login{User: "web", PasswordFile: write(t, "s3cret\n", 0o600)}, Login{User: "web", PasswordFile: write(t, "guess", 0o600)}},
		"token": {func(o *server.Options) { o.Authorization = "t0ken" },
			Login{TokenFile: write(t, "t0ken\n", 0o640)}, Login{TokenFile: write(t, "guess", 0o600)}},
		"nkey": {func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} },
			Login{NKeyFile: write(t, string(seed), 0o600)}, Login{NKeyFile: write(t, string(otherSeed), 0o600)}},
	} {
		t.Run(name, func(t *testing.T) {
			s := natstest.New(t, c.server)
			c.right.URL, c.wrong.URL = s.ClientURL(), s.ClientURL()
			accepted(t, &c.right)
			if err := try(t, &c.wrong); !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("a wrong secret: %v", err)
			}
		})
	}
}

// try connects as l says, and closes the connection.
func try(t *testing.T, l *Login) error {
	t.Helper()
	options, err := l.options()
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(l.URL, append(options, nats.NoReconnect())...)
	if err == nil {
		nc.Close()
	}
	return err
}

func accepted(t *testing.T, l *Login) {
	t.Helper()
	if err := try(t, l); err != nil {
		t.Errorf("rejected: %v", err)
	}
}

// operated is a server with an operator and an account, as nsc makes them, the
// credentials of a user of it, and those of one of another account.
func operated(t *testing.T) (change func(*server.Options), creds, other string) {
	t.Helper()
	operator, _ := nkeys.CreateOperator()
	operatorKey, _ := operator.PublicKey()
	text, err := jwt.NewOperatorClaims(operatorKey).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := jwt.DecodeOperatorClaims(text)
	if err != nil {
		t.Fatal(err)
	}
	accounts := new(server.MemAccResolver)
	user := func(known bool) string {
		account, _ := nkeys.CreateAccount()
		accountKey, _ := account.PublicKey()
		text, err := jwt.NewAccountClaims(accountKey).Encode(operator)
		if err == nil && known {
			err = accounts.Store(accountKey, text)
		}
		if err != nil {
			t.Fatal(err)
		}
		user, _ := nkeys.CreateUser()
		userKey, _ := user.PublicKey()
		seed, _ := user.Seed()
		if text, err = jwt.NewUserClaims(userKey).Encode(account); err != nil {
			t.Fatal(err)
		}
		file, err := jwt.FormatUserConfig(text, seed)
		if err != nil {
			t.Fatal(err)
		}
		return string(file)
	}
	change = func(o *server.Options) {
		o.TrustedOperators, o.AccountResolver, o.JetStream = []*jwt.OperatorClaims{claims}, accounts, false
	}
	return change, user(true), user(false)
}

// TestSecretsChange: a secret's file is read for each connection.
func TestSecretsChange(t *testing.T) {
	password, token := write(t, "old", 0o600), write(t, "old", 0o600)
	for _, c := range []struct {
		server func(*server.Options)
		login  Login
		file   string
	}{
		{func(o *server.Options) { o.Username, o.Password = "web", "new" }, Login{User: "web", PasswordFile: password}, password},
		{func(o *server.Options) { o.Authorization = "new" }, Login{TokenFile: token}, token},
	} {
		s := natstest.New(t, c.server)
		c.login.URL = s.ClientURL()
		nc, err := (&Dialer{Login: c.login}).Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		waittest.Until(t, "the old secret to be rejected", func() bool { return errors.Is(nc.LastError(), nats.ErrAuthorization) })
		if err := os.WriteFile(c.file, []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
		waittest.Until(t, "a connection with the new secret", nc.IsConnected)
	}
}

// TestTLS: a server that wants certificates lets in who has one of its authority,
// and is let in itself only when its own is good; renewed files are used.
func TestTLS(t *testing.T) {
	ca, stranger := certstest.New(t), certstest.New(t)
	s := natstest.New(t, func(o *server.Options) {
		o.TLS, o.TLSVerify = true, true
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ca.Sign("server")}, ClientCAs: ca.Pool, ClientAuth: tls.RequireAndVerifyClientCert}
	})
	login := func(f certs.Files) *Login {
		client, err := f.Client()
		if err != nil {
			t.Fatal(err)
		}
		return &Login{URL: s.ClientURL(), TLS: client}
	}
	root, cert, key := ca.Files(t.TempDir(), ca.Sign("web-1"))
	other, otherCert, otherKey := stranger.Files(t.TempDir(), stranger.Sign("web-1"))
	accepted(t, login(certs.Files{CA: root, Cert: cert, Key: key}))
	for what, f := range map[string]certs.Files{
		"no certificate":                   {CA: root},
		"another authority's certificate":  {CA: root, Cert: otherCert, Key: otherKey},
		"a server of another authority":    {CA: other, Cert: cert, Key: key},
		"a server of another name":         {CA: root, Cert: cert, Key: key, ServerName: "elsewhere"},
		"a server of no authority we know": {Cert: cert, Key: key},
	} {
		if err := try(t, login(f)); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if err := try(t, &Login{URL: s.ClientURL()}); !errors.Is(err, nats.ErrSecureConnRequired) && err == nil {
		t.Errorf("without TLS: %v", err)
	}

	dir := t.TempDir()
	root, cert, key = ca.Files(dir, stranger.Sign("web-1"))
	nc, err := (&Dialer{Login: *login(certs.Files{CA: root, Cert: cert, Key: key})}).Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ca.Files(dir, ca.Sign("web-1"))
	waittest.Until(t, "a connection with the renewed certificate", nc.IsConnected)
}

// TestMistakes: each error names the remedy.
func TestMistakes(t *testing.T) {
	secret := write(t, "x", 0o600)
	for want, l := range map[string]Login{
		"secrets come from files": {URL: "nats://web:s3cret@127.0.0.1:4222"},
		"want nats://":            {URL: "http://127.0.0.1:4222"},
		"chmod 0640":              {URL: "nats://127.0.0.1", TokenFile: write(t, "x", 0o644)},
		"is empty":                {URL: "nats://127.0.0.1", TokenFile: write(t, " \n", 0o600)},
		"no such file":            {URL: "nats://127.0.0.1", CredsFile: secret + ".not"},
		"only one of":             {URL: "nats://127.0.0.1", CredsFile: secret, TokenFile: secret},
		"belong together":         {URL: "nats://127.0.0.1", User: "web"},
		"want nats://HOST:PORT":   {URL: "nats://127.0.0.1/subject"},
	} {
		if _, err := l.options(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", l, err, want)
		}
	}
}
