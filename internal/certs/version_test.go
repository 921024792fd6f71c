package certs_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"fanin/internal/certs/certstest"
)

// TestTLS12: a peer that knows nothing newer is served only where that is set, and the side that
// refuses it names the remedy. What is older is refused always.
func TestTLS12(t *testing.T) {
	a := certstest.New(t)
	files := side(t, a, a.Sign("collector"))
	files.CA = ""
	for _, row := range []struct {
		version uint16
		tls12   bool
		want    string // "": it is served
	}{
		{tls.VersionTLS13, false, ""}, {tls.VersionTLS13, true, ""}, {tls.VersionTLS12, true, ""},
		{tls.VersionTLS12, false, "min_version = \"1.2\""}, {tls.VersionTLS11, true, "no TLS version in common"},
	} {
		files.TLS12 = row.tls12
		server, err := files.Server()
		if err != nil {
			t.Fatal(err)
		}
		client := &tls.Config{RootCAs: a.Pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS10, MaxVersion: row.version}
		cerr, serr := handshake(t, client, server)
		if row.want == "" {
			if cerr != nil || serr != nil {
				t.Errorf("version %x, 1.2 allowed %v: %v, %v", row.version, row.tls12, cerr, serr)
			}
			continue
		}
		if serr == nil || !strings.Contains(files.ExplainServer(serr).Error(), row.want) {
			t.Errorf("version %x, 1.2 allowed %v: %v; want %q", row.version, row.tls12, serr, row.want)
		}
	}
}
