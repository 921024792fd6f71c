package ingest

import (
	"context"
	"crypto/tls"
	"testing"

	"fanin/internal/certs/certstest"
	"fanin/internal/wire"
)

// Two agents may call a stream by the same id: a frame of one that waits for its
// outcome is not in the way of the other's.
func TestSameStreamOfTwoAgents(t *testing.T) {
	k, release := newKeeper(), make(chan struct{})
	k.outcome = func(_ context.Context, b wire.Batch) error {
		if b.Agent == "a" {
			<-release
		}
		return nil
	}
	addr := serveTCP(t, &TCP{Out: k, Welcome: welcome})
	a, b := greet(t, addr, "a", instanceA, 1), greet(t, addr, "b", instanceB, 1)
	a.send(data(7, 0, "of a\n"))
	a.send(wire.AppendPing(nil, wire.KindPing, 1)) // when it is answered, the frame is in flight
	a.want(wire.KindPong)
	b.send(data(7, 0, "of b\n"))
	b.want(wire.KindAck)
	k.waitText(t, "of b\n")
	close(release)
	a.want(wire.KindAck)
}

// An agent's streams count for its address, but not when a certificate says whose
// they are. That a connection is encrypted says nothing of it.
func TestAddressOfAgent(t *testing.T) {
	ca, k := certstest.New(t), newKeeper()
	plain := serveTCP(t, &TCP{Out: k, Welcome: welcome})
	encrypted := serveTCP(t, &TCP{Out: k, Welcome: welcome, TLS: &tls.Config{MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{ca.Sign("collector")}, ClientCAs: ca.Pool, ClientAuth: tls.VerifyClientCertIfGiven}})
	dialTLS := func(certs ...tls.Certificate) *client {
		return newClient(t, tls.Client(dial(t, encrypted), &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1", Certificates: certs}))
	}
	want := ""
	for i, x := range []struct {
		c       *client
		address string
	}{
		{newClient(t, dial(t, plain)), "127.0.0.1"},
		{dialTLS(), "127.0.0.1"},
		{dialTLS(ca.Sign("web-1")), ""},
	} {
		x.c.send(hello("web-1", instanceA, int64(i)))
		x.c.want(wire.KindWelcome)
		x.c.send(data(1, 0, "a line\n"))
		x.c.want(wire.KindAck)
		want += "a line\n"
		if b := k.waitText(t, want); b[i].Address != x.address {
			t.Errorf("connection %d: streams count for %q, want %q", i, b[i].Address, x.address)
		}
	}
}
