package ingest

import (
	"testing"
	"testing/synctest"

	"fanin/internal/wire"
)

// TestExtendInTurn: when memory is used up, the second frame of a stream waits for its turn and
// not for memory, so that the first gets the block beyond the limit.
func TestUnpackedBlockInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, sessions := &Budget{Limit: 8 << 20}, new(Sessions)
		all := [][]byte{m.TryAcquire(wire.MaxText), m.TryAcquire(wire.MaxText)}
		one, _ := sessions.StartFrame("a", wire.StreamID{1})
		two, _ := sessions.StartFrame("a", wire.StreamID{1})
		done := make(chan []byte)
		go func() { // ends with the first frame
			b, err := two.Extend(t.Context(), m, wire.MaxText)
			if err != nil {
				t.Error(err)
			}
			done <- b
		}()
		synctest.Wait()
		first, err := one.Extend(t.Context(), m, wire.MaxText)
		if err != nil {
			t.Error(err)
		}
		m.Release(first)
		one.Decided()
		one.Answered()
		for _, b := range append(all, <-done) {
			m.Release(b)
		}
		two.Decided()
		two.Answered()
		if m.Used() != 0 {
			t.Errorf("%d bytes are used", m.Used())
		}
	})
}
