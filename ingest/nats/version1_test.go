package nats

import (
	"bytes"
	"testing"

	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// batchV1 is b as version 1 wrote it: an array of 12, with nothing between the
// cuts, of which there are none, and the encoding.
func batchV1(t *testing.T, b *wire.Batch) []byte {
	t.Helper()
	frame := append(wire.AppendBatch(nil, b, 0, b.Text), b.Text...)
	no := []byte{0x90, 0x90, 0} // cuts, marks, encoding
	at := bytes.LastIndex(frame, no)
	if frame[0] != 0x9d || at < 0 {
		t.Fatalf("% x is no batch of version 2", frame)
	}
	frame[0] = 0x9c
	return append(frame[:at+1:at+1], frame[at+2:]...)
}

// Batches that agents of version 1 left in a JetStream stream are read by a
// collector of version 2.
func TestStreamOfVersion1(t *testing.T) {
	s := natstest.New(t)
	n, m := serveAgents(t, s)
	hello := wire.AppendHello(nil, wire.Hello{Version: 1, Agent: "a", Instance: wire.StreamID{1}, Run: 1, Host: "any-host", Software: "test"})
	open := wire.Batch{Op: wire.OpOpen, Stream: wire.StreamID{1}, Epoch: 1, Source: "x"}
	b := wire.Batch{Stream: wire.StreamID{1}, Epoch: 1, End: 4, After: 7, Text: []byte("old\n")}
	js := jetStream(t, s.Connect())
	for _, message := range [][]byte{wire.AppendBatch(bytes.Clone(hello), &open, 0, nil), append(bytes.Clone(hello), batchV1(t, &b)...)} {
		if _, err := js.Publish(t.Context(), n.Agents.Subjects.Batch("a"), message); err != nil {
			t.Fatal(err)
		}
	}
	waittest.UntilEqual(t, "the log", "old\n", func() string { return string(m.Text(b.Stream)) })
}
