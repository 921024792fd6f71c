package agent_test

import (
	"errors"
	"strings"
	"testing"

	"fanin/ingest/datagram"
	"fanin/ingest/ingesttest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// No input writes lines under the collector's own source.
func TestReservedSource(t *testing.T) {
	k := ingesttest.NewRecorder()
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome})
	c := ingesttest.Greet(t, addr, "web-1", ingesttest.InstanceA, 1)
	open := wire.Batch{Op: wire.OpOpen, Stream: wire.StreamID{7}, Source: wire.SourceNotice}
	c.Send(wire.AppendBatch(nil, &open, 0, nil))
	if f := c.Want(wire.KindRefuse); !strings.Contains(f.Answer.Reason, "the collector's own") {
		t.Errorf("refused with %q", f.Answer.Reason)
	}
	u := &ingesttest.UDP{Listener: datagram.Listener{Out: k}}
	to, stop := ingesttest.StartUDP(t, u, "127.0.0.1:0")
	b := wire.Batch{Stream: wire.StreamID{7}, Agent: "web-1", Source: wire.SourceNotice, End: 2, Text: []byte("x\n")}
	if _, err := ingesttest.DialUDP(t, to).Write(wire.AppendLossy(nil, &b)); err != nil {
		t.Fatal(err)
	}
	stop()
	if n := u.Dropped(t, "refused"); n != 1 || k.Text() != "" {
		t.Errorf("%d datagrams refused, want 1; recorded %q", n, k.Text())
	}
	anonymous := wire.Batch{Source: wire.SourceNotice, Text: []byte("x\n")}
	if err := new(appendertest.Memory).Append(t.Context(), anonymous); !errors.Is(err, wire.ErrRefused) {
		t.Errorf("plain lines: %v", err)
	}
}
