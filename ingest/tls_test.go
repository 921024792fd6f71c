package ingest

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"fanin/internal/certs/certstest"
	"fanin/internal/wire"
)

func TestTLS(t *testing.T) {
	ca := certstest.New(t)
	k := newKeeper()
	s := &TCP{Out: k, Welcome: welcome, RequireAgentCert: true, TLS: &tls.Config{MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{ca.Sign("collector")}, ClientCAs: ca.Pool, ClientAuth: tls.VerifyClientCertIfGiven}}
	addr := serveTCP(t, s)
	dialTLS := func(certs ...tls.Certificate) *tls.Conn {
		return tls.Client(dial(t, addr), &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1", Certificates: certs})
	}

	plain := dialTLS()
	want := strings.Repeat(strings.Repeat("long ", 1000)+"\nshort\n", 200) + strings.Repeat("y", 300_000) + "\nlast"
	if _, err := io.WriteString(plain, want); err != nil {
		t.Fatal(err)
	}
	plain.Close()
	k.waitText(t, want+"\n")

	named := newClient(t, dialTLS(ca.Sign("other", "web-1", "web1")))
	named.send(hello("web-1", instanceA, 1))
	named.want(wire.KindWelcome)
	named.send(data(1, 0, "x\n"))
	named.want(wire.KindAck)

	elsewhere := newClient(t, dialTLS(ca.Sign("web-6"))) // its lines name the host web1
	elsewhere.send(hello("web-6", instanceA, 1))
	elsewhere.fault("web1", "web-6", "trust_host")
	if n := count(s.Metrics.rejected["host"]); n != 1 {
		t.Errorf("%d connections were refused for their host", n)
	}

	hostless := newClient(t, dialTLS(ca.Sign("web-7"))) // its lines name the agent
	hostless.send(wire.AppendHello(nil, wire.Hello{Version: wire.Version, Agent: "web-7", Instance: instanceA, Run: 1}))
	hostless.want(wire.KindWelcome)

	misnamed := newClient(t, dialTLS(ca.Sign("web-2")))
	misnamed.send(hello("web-3", instanceA, 1))
	misnamed.fault("web-3", "web-2", "certificate")

	unnamed := newClient(t, dialTLS())
	unnamed.send(hello("web-4", instanceA, 1))
	unnamed.fault("certificate")

	noTLS := newClient(t, dial(t, addr))
	noTLS.send(hello("web-5", instanceA, 1))
	noTLS.fault("TLS")
	if n := count(s.Metrics.rejected["not_tls"]); n != 1 {
		t.Errorf("%d connections counted as not TLS", n)
	}
}

// A listener that trusts its agents lets them name any host, and no other id.
func TestTrustHost(t *testing.T) {
	ca, k := certstest.New(t), newKeeper()
	addr := serveTCP(t, &TCP{Out: k, Welcome: welcome, RequireAgentCert: true, TrustHost: true, TLS: &tls.Config{MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{ca.Sign("collector")}, ClientCAs: ca.Pool, ClientAuth: tls.VerifyClientCertIfGiven}})
	for id, want := range map[string]bool{"web-1": true, "web-2": false} {
		c := newClient(t, tls.Client(dial(t, addr), &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1", Certificates: []tls.Certificate{ca.Sign("web-1")}}))
		c.send(hello(id, instanceA, 1))
		if want {
			c.want(wire.KindWelcome)
		} else {
			c.fault("web-2", "certificate")
		}
	}
}

func TestHalfTLSHandshake(t *testing.T) {
	ca := certstest.New(t)
	addr := serveTCP(t, &TCP{Out: newKeeper(), HandshakeTimeout: 50 * time.Millisecond, TLS: &tls.Config{Certificates: []tls.Certificate{ca.Sign("c")}}})
	for _, begin := range []string{"", "\x16\x03\x01\x02\x00"} {
		nc := dial(t, addr)
		io.WriteString(nc, begin)
		nc.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadAll(nc); err != nil && err.(net.Error).Timeout() {
			t.Errorf("still open after %q", begin)
		}
	}
}

// The time for a handshake is over with the handshake: who is silent afterwards
// is not closed, encrypted or not, and not after a beginning that could have been
// a greeting's.
func TestSilenceAfterTheHandshake(t *testing.T) {
	ca := certstest.New(t)
	const handshake = 50 * time.Millisecond
	for _, encrypted := range []bool{true, false} {
		k := newKeeper()
		s := &TCP{Out: k, HandshakeTimeout: handshake}
		if encrypted {
			s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Sign("c")}}
		}
		var nc net.Conn = dial(t, serveTCP(t, s))
		if encrypted {
			nc = tls.Client(nc, &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1"})
		}
		io.WriteString(nc, wire.Magic[:1])
		nc.SetReadDeadline(time.Now().Add(handshake / 5)) // so that the beginning is read alone
		nc.Read(make([]byte, 1))
		io.WriteString(nc, "irst\n")
		k.waitText(t, wire.Magic[:1]+"irst\n")
		nc.SetReadDeadline(time.Now().Add(3 * handshake))
		if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("encrypted %v: a silent connection was closed: %v", encrypted, err)
			continue
		}
		io.WriteString(nc, "second\n")
		k.waitText(t, wire.Magic[:1]+"irst\nsecond\n")
		nc.Close()
	}
}
