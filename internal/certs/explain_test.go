package certs_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"fanin/internal/certs"
	"fanin/internal/certs/certstest"
)

// handshake lets both sides shake hands over a real connection, and reads and writes until
// each has heard what the other one thinks: in TLS 1.3 a client learns only later that it
// was not let in.
func handshake(t *testing.T, client, server *tls.Config) (cerr, serr error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan error, 1)
	go func() { // ends with the connection
		raw, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		defer raw.Close()
		raw.SetDeadline(time.Now().Add(10 * time.Second))
		c := tls.Server(raw, server)
		if err = c.Handshake(); err == nil {
			io.WriteString(c, "x")
		} else {
			raw.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, raw)
		}
		done <- err
	}()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	raw.SetDeadline(time.Now().Add(10 * time.Second))
	c := tls.Client(raw, client)
	if cerr = c.Handshake(); cerr == nil {
		_, cerr = c.Read(make([]byte, 1))
	}
	raw.Close()
	return cerr, <-done
}

// side makes files of a certificate, and says which they are.
func side(t *testing.T, a *certstest.Authority, c tls.Certificate) certs.Files {
	ca, cert, key := a.Files(t.TempDir(), c)
	return certs.Files{CA: ca, Cert: cert, Key: key}
}

// TestExplain: each way in which a handshake fails is told from the others, with the file
// and the remedy, by the side that can know it.
func TestExplain(t *testing.T) {
	ours, theirs := certstest.New(t), certstest.New(t)
	here := []net.IP{net.IPv4(127, 0, 0, 1)}
	hour := time.Hour
	valid := func(a *certstest.Authority) certs.Files { return side(t, a, a.Sign("good")) }
	without := func(f certs.Files) certs.Files { f.Cert, f.Key = "", ""; return f }
	old := side(t, ours, ours.SignFor(time.Now().Add(-2*hour), time.Now().Add(-hour), here, "old"))
	young := side(t, ours, ours.SignFor(time.Now().Add(hour), time.Now().Add(2*hour), here, "young"))
	elsewhere := side(t, ours, ours.SignFor(time.Time{}, time.Now().Add(hour), nil, "elsewhere", "collector.example"))
	nameless := side(t, ours, ours.SignFor(time.Time{}, time.Now().Add(hour), nil, "127.0.0.1"))
	stranger := valid(theirs)
	stranger.CA = valid(ours).CA // trusts ours, and is signed by theirs
	good := valid(ours)
	for name, c := range map[string]struct {
		client, server certs.Files
		atClient       []string
		atServer       []string
	}{
		"the server's authority is unknown": {client: valid(theirs), server: good, atClient: []string{"CN=good", "is not signed by an authority in ", "set ca to"}, atServer: []string{"the peer does not trust this listener's certificate " + good.Cert}},
		"the server's certificate expired":  {client: good, server: old, atClient: []string{"CN=old", "expired at ", "renew it"}, atServer: []string{"this listener's certificate " + old.Cert}},
		"it is not valid yet":               {client: good, server: young, atClient: []string{"CN=young", "is not valid before ", "clock"}, atServer: []string{"this listener's certificate " + young.Cert}},
		"it is for another name":            {client: good, server: elsewhere, atClient: []string{"is for collector.example, and not for \"127.0.0.1\"", "server_name"}, atServer: []string{"dial a name that is in it"}},
		"it has no name":                    {client: good, server: nameless, atClient: []string{"no name (a common name does not count)"}},
		"a client without a certificate":    {client: without(good), server: good, atClient: []string{"requires a certificate: set cert and key"}, atServer: []string{"the peer has no certificate", good.CA}},
		"the client's authority is unknown": {client: stranger, server: good, atClient: []string{"does not accept this side's certificate " + stranger.Cert, "client_ca"}, atServer: []string{"the peer's certificate, \"CN=good\", is not signed by an authority in " + good.CA}},
		"the client's certificate expired":  {client: old, server: good, atClient: []string{old.Cert + " has expired"}, atServer: []string{"the peer's certificate, \"CN=old\", expired at "}},
		"the client's is not valid yet":     {client: young, server: good, atClient: []string{young.Cert}, atServer: []string{"is not valid before "}},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := c.client.Client()
			if err != nil {
				t.Fatal(err)
			}
			server, err := c.server.Server()
			if err != nil {
				t.Fatal(err)
			}
			config := client()
			config.ServerName = "127.0.0.1"
			cerr, serr := handshake(t, config, server)
			says(t, c.client.ExplainClient, cerr, c.atClient)
			if c.atServer != nil {
				says(t, c.server.ExplainServer, serr, c.atServer)
			}
		})
	}
	t.Run("an old client", func(t *testing.T) {
		server, err := good.Server()
		if err != nil {
			t.Fatal(err)
		}
		cerr, serr := handshake(t, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, server)
		says(t, good.ExplainClient, cerr, []string{"no TLS version in common"})
		says(t, good.ExplainServer, serr, []string{"no TLS version in common"})
	})
	t.Run("an old server", func(t *testing.T) {
		client, err := good.Client()
		if err != nil {
			t.Fatal(err)
		}
		config := client()
		config.ServerName = "127.0.0.1"
		cerr, serr := handshake(t, config, &tls.Config{Certificates: []tls.Certificate{ours.Sign("good")}, MaxVersion: tls.VersionTLS12})
		says(t, good.ExplainClient, cerr, []string{"no TLS version in common"})
		says(t, good.ExplainServer, serr, []string{"no TLS version in common"})
	})
	t.Run("no TLS at all", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() { // ends with the connection
			if c, err := ln.Accept(); err == nil {
				io.WriteString(c, "220 mail.example ESMTP\r\n")
				c.Close()
			}
		}()
		_, err = tls.Dial("tcp", ln.Addr().String(), &tls.Config{ServerName: "127.0.0.1"})
		says(t, good.ExplainClient, err, []string{"that port does not use TLS: write tcp://"})
	})
	t.Run("something else", func(t *testing.T) {
		if err := good.ExplainClient(io.ErrUnexpectedEOF); err != io.ErrUnexpectedEOF {
			t.Error(err)
		}
	})
}

func says(t *testing.T, explain func(error) error, err error, words []string) {
	t.Helper()
	if err == nil {
		t.Error("there is no error")
		return
	}
	text := explain(err)
	for _, w := range words {
		if !strings.Contains(text.Error(), w) {
			t.Errorf("it says %q, and not %q", text, w)
		}
	}
	if !errors.Is(text, err) {
		t.Errorf("%v does not wrap %v", text, err)
	}
}
