//go:build unix

package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/certs/certstest"
)

// served is the name in the certificate that a listener shows now.
func served(t *testing.T, c *tls.Config) string {
	t.Helper()
	now, err := c.GetConfigForClient(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(now.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf.Subject.CommonName
}

// changed moves the time of a file: one that was written within the clock's step of the
// one before would look the same.
func changed(t *testing.T, files ...string) {
	t.Helper()
	for _, path := range files {
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, fi.ModTime().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReload: a listener and a client use changed files from the next handshake on, and
// stay with what they have while the files cannot be used, which is logged once.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, dir := certstest.New(t), t.TempDir()
		ca, cert, key := a.Files(dir, a.Sign("first", "collector"))
		var log bytes.Buffer
		files := Files{Cert: cert, Key: key, CA: ca, Log: slog.New(slog.NewTextHandler(&log, nil))}
		server, err := files.Server()
		if err != nil {
			t.Fatal(err)
		}
		client, err := files.Client()
		if err != nil {
			t.Fatal(err)
		}
		is := func(when, want string) {
			t.Helper()
			time.Sleep(time.Second) // files are looked at once a second
			if got := served(t, server); got != want {
				t.Errorf("%s the listener shows %q, want %q", when, got, want)
			}
			leaf, err := x509.ParseCertificate(client().Certificates[0].Certificate[0])
			if err != nil || leaf.Subject.CommonName != want {
				t.Errorf("%s the client shows %v, want %q", when, leaf.Subject, want)
			}
		}
		is("at first", "first")
		a.Files(dir, a.Sign("second", "collector"))
		changed(t, cert, key)
		is("after a change", "second")
		if err := os.WriteFile(cert, []byte("half a file"), 0o600); err != nil {
			t.Fatal(err)
		}
		changed(t, cert)
		is("with a file that cannot be used", "second")
		is("and still", "second")
		if n := strings.Count(log.String(), "level=ERROR"); n != 2 {
			t.Errorf("the listener and the client logged %d errors, want one each:\n%s", n, log.String())
		}
		a.Files(dir, a.Sign("third", "collector"))
		changed(t, cert, key, key)
		is("when it is whole again", "third")
	})
}

// TestServerAuthenticates: with an authority a listener demands certificates that it
// signed; both sides speak TLS 1.3 only.
func TestServerAuthenticates(t *testing.T) {
	a := certstest.New(t)
	ca, cert, key := a.Files(t.TempDir(), a.Sign("collector", "collector"))
	for _, authority := range []string{"", ca} {
		files := Files{Cert: cert, Key: key, CA: authority}
		server, err := files.Server()
		if err != nil {
			t.Fatal(err)
		}
		now, err := server.GetConfigForClient(&tls.ClientHelloInfo{})
		if err != nil || now.MinVersion != tls.VersionTLS13 || (now.ClientAuth == tls.RequireAndVerifyClientCert) != (authority != "") {
			t.Errorf("with the authority %q: %v, %v", authority, now.ClientAuth, err)
		}
	}
	client, err := Files{CA: ca, ServerName: "collector"}.Client()
	if err != nil {
		t.Fatal(err)
	}
	if c := client(); c.MinVersion != tls.VersionTLS13 || c.ServerName != "collector" || c.RootCAs == nil || c.Certificates != nil {
		t.Errorf("the client has %+v", c)
	}
}

// TestFilesRefused: files that cannot be used are refused at the start, with the file's
// name and what to do.
func TestFilesRefused(t *testing.T) {
	a := certstest.New(t)
	ca, cert, key := a.Files(t.TempDir(), a.Sign("one"))
	_, _, other := a.Files(t.TempDir(), a.Sign("two"))
	open := key + ".open"
	b, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(open, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for want, files := range map[string]Files{
		"tls needs cert and key":          {CA: ca},
		"chmod 0640 " + open:              {Cert: cert, Key: open},
		"does not match":                  {Cert: cert, Key: other},
		"no such file":                    {Cert: cert, Key: key + ".none"},
		key + " holds no certificate":     {Cert: cert, Key: key, CA: key},
		"certificates of the authority: ": {Cert: cert, Key: key, CA: ca + ".none"},
	} {
		if _, err := files.Server(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", files, err, want)
		}
	}
}

func TestNames(t *testing.T) {
	a := certstest.New(t)
	_, cert, key := a.Files(t.TempDir(), a.Sign("web-1", "web-1.example", "web"))
	if names, err := Names(cert); err != nil || strings.Join(names, " ") != "web-1.example web web-1" {
		t.Errorf("the names are %q, %v", names, err)
	}
	for _, path := range []string{key, cert + ".none"} {
		if names, err := Names(path); err == nil {
			t.Errorf("%s has the names %q", path, names)
		}
	}
}
