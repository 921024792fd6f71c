package tables

import (
	"strings"
	"testing"

	"fanin/internal/config"
)

// TestChecks: each mistake in the tls tables is reported at its key.
func TestChecks(t *testing.T) {
	whole := &ServerTLS{Cert: "c", Key: "k", ClientCA: "a"}
	for _, row := range []struct {
		server *ServerTLS
		names  []string
		client *ClientTLS
		want   string
	}{
		{}, {server: whole, names: []string{"web-*"}, client: &ClientTLS{CA: "a"}}, {client: &ClientTLS{Cert: "c", Key: "k"}},
		{server: &ServerTLS{Cert: "c"}, want: "tls needs cert and key"},
		{names: []string{"web"}, want: "client_names needs client_ca"},
		{server: &ServerTLS{Cert: "c", Key: "k"}, names: []string{"web"}, want: "client_names needs client_ca"},
		{server: whole, names: []string{}, want: "would allow no certificate"},
		{server: whole, names: []string{"a["}, want: `invalid pattern of names "a["`},
		{client: &ClientTLS{Key: "k"}, want: "tls has one of cert and key"},
	} {
		f, err := config.Parse("a.toml", "", new(struct{}))
		if err != nil {
			t.Fatal(err)
		}
		row.server.Check(f.Table("x"), row.names)
		row.client.Check(f.Table("x"))
		if err := f.Err(); (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%+v, %q, %+v: %v, want %q", row.server, row.names, row.client, err, row.want)
		}
	}
}

// Without a table there are no files, and a login has only its address.
func TestNoTable(t *testing.T) {
	if f := (*ServerTLS)(nil).Files(nil); f.Cert+f.Key+f.CA != "" {
		t.Errorf("a listener has the files %+v", f)
	}
	if f := (*ClientTLS)(nil).Files(nil); f.Cert+f.Key+f.CA+f.ServerName != "" {
		t.Errorf("a client has the files %+v", f)
	}
	login := NATSLogin{User: "u", PasswordFile: "p", TokenFile: "t", NKeyFile: "n", CredsFile: "c"}
	if l := login.Login("nats://x"); l.URL != "nats://x" || l.User+l.PasswordFile+l.TokenFile+l.NKeyFile+l.CredsFile != "uptnc" || l.TLS != nil {
		t.Errorf("the login is %+v", l)
	}
}
