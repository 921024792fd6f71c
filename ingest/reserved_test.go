package ingest

import (
	"errors"
	"strings"
	"testing"

	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// No input writes lines under the collector's own source.
func TestReservedSource(t *testing.T) {
	c := greet(t, serveTCP(t, &TCP{Out: newKeeper(), Welcome: welcome}), "web-1", instanceA, 1)
	c.send(wire.AppendBatch(nil, &wire.Batch{Op: wire.OpOpen, Stream: wire.StreamID{7}, Source: wire.SourceNotice}, 0, nil))
	if f := c.want(wire.KindRefuse); !strings.Contains(f.Answer.Reason, "the collector's own") {
		t.Errorf("refused with %q", f.Answer.Reason)
	}
	b := wire.Batch{Kind: wire.StreamLossy, Stream: wire.StreamID{7}, Agent: "web-1", Source: wire.SourceNotice, End: 2, Text: []byte("x\n")}
	if err := checkLossy(&b, 1); !errors.Is(err, wire.ErrRefused) {
		t.Errorf("a datagram: %v", err)
	}
	anonymous := wire.Batch{Source: wire.SourceNotice, Text: []byte("x\n")}
	if err := new(appendertest.Memory).Append(t.Context(), anonymous); !errors.Is(err, wire.ErrRefused) {
		t.Errorf("plain lines: %v", err)
	}
}
