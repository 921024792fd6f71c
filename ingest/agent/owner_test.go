package agent_test

import (
	"context"
	"crypto/tls"
	"testing"

	"fanin/ingest/ingesttest"
	"fanin/internal/certs/certstest"
	"fanin/internal/wire"
)

// Two agents may call a stream by the same id: a frame of one that waits for its
// outcome is not in the way of the other's.
func TestSameStreamOfTwoAgents(t *testing.T) {
	k, release := ingesttest.NewRecorder(), make(chan struct{})
	k.Outcome = func(_ context.Context, b wire.Batch) error {
		if b.Agent == "a" {
			<-release
		}
		return nil
	}
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome})
	a, b := ingesttest.Greet(t, addr, "a", ingesttest.InstanceA, 1), ingesttest.Greet(t, addr, "b", ingesttest.InstanceB, 1)
	a.Send(ingesttest.Data(7, 0, "of a\n"))
	a.Send(wire.AppendPing(nil, wire.KindPing, 1)) // when it is answered, the frame is in flight
	a.Want(wire.KindPong)
	b.Send(ingesttest.Data(7, 0, "of b\n"))
	b.Want(wire.KindAck)
	k.WaitText(t, "of b\n")
	close(release)
	a.Want(wire.KindAck)
}

// An agent's streams count for its address, but not when a certificate proves whose they
// are. An encrypted connection alone proves nothing.
func TestAddressOfAgent(t *testing.T) {
	ca, k := certstest.New(t), ingesttest.NewRecorder()
	plain := ingesttest.Start(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome})
	encrypted := ingesttest.Start(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, TLS: &tls.Config{MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{ca.Sign("collector")}, ClientCAs: ca.Pool, ClientAuth: tls.VerifyClientCertIfGiven}})
	dialTLS := func(certs ...tls.Certificate) *ingesttest.Client {
		return ingesttest.NewClient(t, tls.Client(ingesttest.Dial(t, encrypted), &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1", Certificates: certs}))
	}
	want := ""
	for i, x := range []struct {
		c       *ingesttest.Client
		address string
	}{
		{ingesttest.NewClient(t, ingesttest.Dial(t, plain)), "127.0.0.1"},
		{dialTLS(), "127.0.0.1"},
		{dialTLS(ca.Sign("web-1")), ""},
	} {
		x.c.Send(ingesttest.Hello("web-1", ingesttest.InstanceA, int64(i)))
		x.c.Want(wire.KindWelcome)
		x.c.Send(ingesttest.Data(1, 0, "a line\n"))
		x.c.Want(wire.KindAck)
		want += "a line\n"
		if b := k.WaitText(t, want); b[i].Address != x.address {
			t.Errorf("connection %d: streams count for %q, want %q", i, b[i].Address, x.address)
		}
	}
}
