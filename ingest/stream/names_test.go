package stream_test

import (
	"crypto/tls"
	"io"
	"testing"

	"fanin/ingest/ingesttest"
	"fanin/internal/certs"
	"fanin/internal/certs/certstest"
	"fanin/internal/wire"
)

// TestClientNames: peers whose certificates have none of the names are refused: agents,
// with the reason, and senders of plain lines.
func TestClientNames(t *testing.T) {
	ca := certstest.New(t)
	k := ingesttest.NewRecorder()
	s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, Allowed: certs.Named([]string{"web-*"}), TLS: &tls.Config{MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{ca.Sign("collector")}, ClientCAs: ca.Pool, ClientAuth: tls.RequireAndVerifyClientCert}}
	addr := ingesttest.Start(t, s)
	dialAs := func(names ...string) *tls.Conn {
		return tls.Client(ingesttest.Dial(t, addr), &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1", Certificates: []tls.Certificate{ca.Sign(names[0], names[1:]...)}})
	}
	for _, names := range [][]string{{"web-1"}, {"other", "web-2"}} {
		agent := ingesttest.NewClient(t, dialAs(names...))
		agent.Send(ingesttest.Hello(names[len(names)-1], ingesttest.InstanceA, 1))
		agent.Want(wire.KindWelcome)
	}
	agent := ingesttest.NewClient(t, dialAs("ops-1"))
	agent.Send(ingesttest.Hello("ops-1", ingesttest.InstanceA, 1))
	agent.WantFault("ops-1", "web-*", "client_names")

	refused := dialAs("ops-1", "ops-2")
	io.WriteString(refused, "not let in\n")
	refused.CloseWrite()
	if answer, err := io.ReadAll(refused); err == nil && len(answer) > 0 {
		t.Errorf("a plain sender is told %q", answer)
	}
	if n := s.Rejected(t, "certificate"); n != 2 {
		t.Errorf("%d counted, want 2", n)
	}
	want := ""
	for host, names := range map[string][]string{"web-3": {"web-3"}, "web-5": {"web-4", "web-5"}} {
		io.WriteString(dialAs(names...), host+"\n")
		want += host + "\n"
		if batches := k.WaitText(t, want); batches[len(batches)-1].Host != host {
			t.Errorf("lines of the certificate with the names %q have the host %q", names, batches[len(batches)-1].Host)
		}
	}
}
