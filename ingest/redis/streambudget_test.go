package redis

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/internal/redistest"
	"fanin/internal/sequence"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// TestStreamsShareBudget: more streams than the memory has blocks go on, and all of them are read to
// their ends, however slow the log is.
func TestStreamsShareBudget(t *testing.T) {
	const streams, blocks, entries = 9, 3, 300
	s := redistest.New(t)
	m := new(appendertest.Memory)
	m.Before = func(context.Context, wire.Batch) error { time.Sleep(10 * time.Millisecond); return nil }
	var keys []string
	for k := range streams {
		keys = append(keys, fmt.Sprint("k", k))
		s.Do("EVAL", `for i=1,tonumber(ARGV[2]) do redis.call('XADD',KEYS[1],'*','message',ARGV[1]) end`, "1", keys[k],
			strings.Repeat("m", 10_000), fmt.Sprint(entries))
	}
	c := collect(t, s, m, func(n *Input) {
		n.Streams.Keys = keys
		n.Budget = &ingest.Budget{Limit: blocks * ingest.BlockSize(sequence.FullBatch)}
	})
	waittest.UntilEqual(t, "lines in the log", streams*entries, func() (lines int) {
		for _, b := range m.Kept() {
			lines += strings.Count(string(b.Text), "\n")
		}
		return lines
	})
	c.stop()
}
