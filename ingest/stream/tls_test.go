package stream_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/ingest/stream"
	"fanin/internal/certs/certstest"
	"fanin/internal/wire"
)

func TestTLS(t *testing.T) {
	ca := certstest.New(t)
	k := ingesttest.NewRecorder()
	s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, RequireCert: true, TLS: &tls.Config{MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{ca.Sign("collector")}, ClientCAs: ca.Pool, ClientAuth: tls.VerifyClientCertIfGiven}}
	addr := ingesttest.Start(t, s)
	dialTLS := func(certs ...tls.Certificate) *tls.Conn {
		return tls.Client(ingesttest.Dial(t, addr), &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1", Certificates: certs})
	}

	plain := dialTLS()
	want := strings.Repeat(strings.Repeat("long ", 1000)+"\nshort\n", 200) + strings.Repeat("y", 300_000) + "\nlast"
	if _, err := io.WriteString(plain, want); err != nil {
		t.Fatal(err)
	}
	plain.Close()
	k.WaitText(t, want+"\n")

	named := ingesttest.NewClient(t, dialTLS(ca.Sign("other", "web-1", "web1")))
	named.Send(ingesttest.Hello("web-1", ingesttest.InstanceA, 1))
	named.Want(wire.KindWelcome)
	named.Send(ingesttest.Data(1, 0, "x\n"))
	named.Want(wire.KindAck)

	elsewhere := ingesttest.NewClient(t, dialTLS(ca.Sign("web-6"))) // its lines name the host web1
	elsewhere.Send(ingesttest.Hello("web-6", ingesttest.InstanceA, 1))
	elsewhere.WantFault("web1", "web-6", "trust_host")
	if n := s.Rejected(t, "host"); n != 1 {
		t.Errorf("%d connections were refused for their host", n)
	}

	hostless := ingesttest.NewClient(t, dialTLS(ca.Sign("web-7"))) // its lines name the agent
	hostless.Send(wire.AppendHello(nil, wire.Hello{Version: wire.Version, Agent: "web-7", Instance: ingesttest.InstanceA, Run: 1}))
	hostless.Want(wire.KindWelcome)

	misnamed := ingesttest.NewClient(t, dialTLS(ca.Sign("web-2")))
	misnamed.Send(ingesttest.Hello("web-3", ingesttest.InstanceA, 1))
	misnamed.WantFault("web-3", "web-2", "certificate")

	unnamed := ingesttest.NewClient(t, dialTLS())
	unnamed.Send(ingesttest.Hello("web-4", ingesttest.InstanceA, 1))
	unnamed.WantFault("certificate")

	noTLS := ingesttest.NewClient(t, ingesttest.Dial(t, addr))
	noTLS.Send(ingesttest.Hello("web-5", ingesttest.InstanceA, 1))
	noTLS.WantFault("TLS")
	if n := s.Rejected(t, "not_tls"); n != 1 {
		t.Errorf("%d connections counted as not TLS", n)
	}
}

// A listener that trusts its agents lets them name any host, and no other id.
func TestTrustHost(t *testing.T) {
	ca, k := certstest.New(t), ingesttest.NewRecorder()
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, RequireCert: true, TrustHost: true, TLS: &tls.Config{MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{ca.Sign("collector")}, ClientCAs: ca.Pool, ClientAuth: tls.VerifyClientCertIfGiven}})
	for id, want := range map[string]bool{"web-1": true, "web-2": false} {
		c := ingesttest.NewClient(t, tls.Client(ingesttest.Dial(t, addr), &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1", Certificates: []tls.Certificate{ca.Sign("web-1")}}))
		c.Send(ingesttest.Hello(id, ingesttest.InstanceA, 1))
		if want {
			c.Want(wire.KindWelcome)
		} else {
			c.WantFault("web-2", "certificate")
		}
	}
}

func TestHalfTLSHandshake(t *testing.T) {
	ca := certstest.New(t)
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: ingesttest.NewRecorder(), TLS: &tls.Config{Certificates: []tls.Certificate{ca.Sign("c")}}, Limits: stream.Limits{HandshakeTimeout: 50 * time.Millisecond}})
	for _, begin := range []string{"", "\x16\x03\x01\x02\x00"} {
		nc := ingesttest.Dial(t, addr)
		io.WriteString(nc, begin)
		nc.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadAll(nc); err != nil && err.(net.Error).Timeout() {
			t.Errorf("still open after %q", begin)
		}
	}
}

// The time for a handshake ends with the handshake: a peer that is silent afterwards is
// not closed, encrypted or not, and not after a beginning that could have been
// a greeting's.
func TestSilenceAfterTheHandshake(t *testing.T) {
	ca := certstest.New(t)
	const handshake = 500 * time.Millisecond
	for _, encrypted := range []bool{true, false} {
		k := ingesttest.NewRecorder()
		s := &ingesttest.TCP{Out: k, Limits: stream.Limits{HandshakeTimeout: handshake}}
		if encrypted {
			s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Sign("c")}}
		}
		var nc net.Conn = ingesttest.Dial(t, ingesttest.Start(t, s))
		if encrypted {
			nc = tls.Client(nc, &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1"})
		}
		io.WriteString(nc, wire.Magic[:1])
		nc.SetReadDeadline(time.Now().Add(handshake / 5)) // so that the beginning is read alone
		nc.Read(make([]byte, 1))
		io.WriteString(nc, "irst\n")
		k.WaitText(t, wire.Magic[:1]+"irst\n")
		nc.SetReadDeadline(time.Now().Add(3 * handshake))
		if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("encrypted %v: a silent connection was closed: %v", encrypted, err)
			continue
		}
		io.WriteString(nc, "second\n")
		k.WaitText(t, wire.Magic[:1]+"irst\nsecond\n")
		nc.Close()
	}
}
