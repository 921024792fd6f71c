package broker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"fanin/internal/natstest"
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

// TestLogin: each way to log in is let in by a server that wants it, and a wrong
// secret is not.
func TestLogin(t *testing.T) {
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := user.Seed()
	public, _ := user.PublicKey()
	other, _ := nkeys.CreateUser()
	otherSeed, _ := other.Seed()
	for name, c := range map[string]struct {
		server       func(*server.Options)
		right, wrong Login
	}{
		"password": {func(o *server.Options) { o.Username, o.Password = "web", "s3cret" },
			Login{User: "web", PasswordFile: write(t, "s3cret\n", 0o600)}, Login{User: "web", PasswordFile: write(t, "guess", 0o600)}},
		"token": {func(o *server.Options) { o.Authorization = "t0ken" },
			Login{TokenFile: write(t, "t0ken\n", 0o640)}, Login{TokenFile: write(t, "guess", 0o600)}},
		"nkey": {func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} },
			Login{NKeyFile: write(t, string(seed), 0o600)}, Login{NKeyFile: write(t, string(otherSeed), 0o600)}},
	} {
		t.Run(name, func(t *testing.T) {
			s := natstest.New(t, c.server)
			for l, want := range map[*Login]bool{&c.right: true, &c.wrong: false} {
				l.URL = s.ClientURL()
				options, err := l.Options()
				if err != nil {
					t.Fatal(err)
				}
				nc, err := nats.Connect(l.URL, append(options, nats.RetryOnFailedConnect(false), nats.NoReconnect())...)
				if got := err == nil; got != want {
					t.Errorf("let in: %v (%v), want %v", got, err, want)
				}
				if nc != nil {
					nc.Close()
				}
			}
		})
	}
}

// TestMistakes: each says what to do.
func TestMistakes(t *testing.T) {
	secret := write(t, "x", 0o600)
	for want, l := range map[string]Login{
		"secrets come from files": {URL: "nats://web:s3cret@127.0.0.1:4222"},
		"want nats://":            {URL: "http://127.0.0.1:4222"},
		"chmod 0640":              {URL: "nats://127.0.0.1", TokenFile: write(t, "x", 0o644)},
		"is empty":                {URL: "nats://127.0.0.1", TokenFile: write(t, " \n", 0o600)},
		"no such file":            {URL: "nats://127.0.0.1", CredsFile: secret + ".not"},
		"give one of":             {URL: "nats://127.0.0.1", CredsFile: secret, TokenFile: secret},
		"go together":             {URL: "nats://127.0.0.1", User: "web"},
		"want nats://HOST:PORT":   {URL: "nats://127.0.0.1/subject"},
	} {
		if _, err := l.Options(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", l, err, want)
		}
	}
}
