package nats

import (
	"testing"
	"time"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/internal/counters"
	"fanin/internal/wire"
)

// TestBatchFromStreamKeepsItsTime: a batch that waited in the stream was read when its
// agent says, if the agent's clock agreed with the server's when it was stored.
func TestBatchFromStreamKeepsItsTime(t *testing.T) {
	stored := time.Now().Add(-5 * time.Hour)
	for skew, want := range map[time.Duration]time.Time{
		-10 * time.Second: stored.Add(-10 * time.Second),
		-time.Hour:        stored, // the agent's clock is wrong
	} {
		out := ingesttest.NewRecorder()
		n := &Input{Out: out, Sessions: new(ingest.Sessions), Budget: new(ingest.Budget), unpack: ingest.NewUnpacker}
		n.lines.agents = new(counters.Set).New("nats-agent", counters.Sequence)
		n.life.Appending = t.Context()
		b := wire.Batch{Stream: wire.StreamID{1}, Epoch: 1, End: 2, After: 7, Text: []byte("x\n"),
			Time: stored.Add(skew).UnixMicro()}
		data := append(wire.AppendBatch(helloOf("a"), &b, 0, b.Text), b.Text...)
		m := batchMessage{message: message{data: data, time: stored}, hello: wire.Hello{Agent: "a"}}
		s := &streamReader{n: n}
		if a, err := s.appendOne(&m); err != nil || a.Kind != wire.KindAck {
			t.Fatal(a, err)
		}
		_, got := out.Wait(t, func(_ string, batches []wire.Batch) bool { return len(batches) == 1 })
		if got[0].Time != want.UnixMicro() {
			t.Errorf("skew %v: read at %v, want %v", skew, time.UnixMicro(got[0].Time), want)
		}
	}
}
