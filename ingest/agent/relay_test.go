package agent_test

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/internal/wire"
)

// startRelays starts a listener to which relays with a name of edge-* may forward, of hosts web-*.
func startRelays(t *testing.T, k *ingesttest.Recorder) string {
	t.Helper()
	relays := ingest.NewRelays([]string{"edge-*"}, []string{"web-*"}, "central", new(ingest.Metrics),
		slog.New(slog.NewTextHandler(io.Discard, nil)))
	return ingesttest.Start(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, Relays: relays})
}

// greetAs greets as an agent, or as a relay.
func greetAs(t *testing.T, addr, owner, session, host string) *ingesttest.Client {
	t.Helper()
	c := ingesttest.NewClient(t, ingesttest.Dial(t, addr))
	c.Send(wire.AppendHello(nil, wire.Hello{Version: wire.Version, Agent: owner, Session: session, Host: host,
		Instance: ingesttest.InstanceA, Run: 1}))
	return c
}

// label sends a line with labels, and returns what the log shows of it.
func label(t *testing.T, k *ingesttest.Recorder, c *ingesttest.Client, stream byte, l wire.Labels) string {
	t.Helper()
	text := fmt.Sprintf("line %d\n", stream)
	b := wire.Batch{Stream: wire.StreamID{stream}, End: 9, Time: time.Now().UnixMicro(), Text: []byte(text), Marks: []wire.Mark{{Labels: l}}}
	c.Send(append(wire.AppendBatch(nil, &b, 0, b.Text), b.Text...))
	c.Want(wire.KindAck)
	_, kept := k.Wait(t, func(all string, _ []wire.Batch) bool { return strings.HasSuffix(all, text) })
	for got := range kept[len(kept)-1].Runs() {
		return fmt.Sprint(got.Host, " ", got.Source, " ", !got.Time.IsZero())
	}
	return ""
}

// A relay may name hosts, the source of notices and times, within what the listener allows.
func TestRelayLabels(t *testing.T) {
	k, now := ingesttest.NewRecorder(), time.Now()
	c := greetAs(t, startRelays(t, k), "edge-1", wire.RelaySession, "")
	c.Want(wire.KindWelcome)
	var got []string
	for i, l := range []wire.Labels{
		{Host: "web-1", Source: "app", Time: now},
		{Host: "bank", Source: "app", Time: now},
		{Host: "edge-1", Source: wire.SourceNotice, Time: now},
		{Host: "central", Source: wire.SourceNotice, Time: now},
		{Host: "web-1", Source: "app", Time: now.Add(-10000 * time.Hour)},
		{Host: "web-1", Source: "app", Time: now.Add(23 * time.Hour)},
		{Host: "web-1", Source: "app", Time: now.Add(25 * time.Hour)},
	} {
		got = append(got, label(t, k, c, byte(i+1), l))
	}
	want := []string{"web-1 app true", "edge-1 app true", "edge-1 fanin true", "edge-1 fanin true", "web-1 app true",
		"web-1 app true", "web-1 app false"}
	if !slices.Equal(got, want) {
		t.Errorf("the labels are\n%q, want\n%q", got, want)
	}
}

// A peer that is not in relay_names may not relay, and an agent may name no host but its own.
func TestRelayRefused(t *testing.T) {
	k := ingesttest.NewRecorder()
	addr := startRelays(t, k)
	plain := ingesttest.Start(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome})
	for _, row := range []struct{ addr, id, host string }{{addr, "web-1", ""}, {addr, "edge-1", "bank"}, {plain, "edge-1", ""}} {
		greetAs(t, row.addr, row.id, wire.RelaySession, row.host).Want(wire.KindFault)
	}
	// None has the host of this log's notices, also where its lines may name all hosts.
	free := ingest.NewRelays([]string{"*"}, nil, "cen_tral", new(ingest.Metrics), slog.New(slog.NewTextHandler(io.Discard, nil)))
	open := ingesttest.Start(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, Relays: free})
	for _, row := range []struct{ id, host string }{{"edge-1", "cen_tral"}, {"edge-1", "cen tral"}, {"cen_tral", ""}} {
		greetAs(t, open, row.id, wire.RelaySession, row.host).Want(wire.KindFault)
	}
	greetAs(t, open, "edge-1", wire.RelaySession, "").Want(wire.KindWelcome)
	c := greetAs(t, addr, "edge-1", "", "")
	c.Want(wire.KindWelcome)
	if got := label(t, k, c, 1, wire.Labels{Host: "web-1", Source: "app"}); got != "edge-1 app false" {
		t.Errorf("an agent named the host of another: %s", got)
	}
	b := wire.Batch{Stream: wire.StreamID{9}, End: 9, Text: []byte("line\n"), Marks: []wire.Mark{{Labels: wire.Labels{Source: wire.SourceNotice}}}}
	c.Send(append(wire.AppendBatch(nil, &b, 0, b.Text), b.Text...))
	c.Want(wire.KindRefuse)
}
