package zmq

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"fanin/internal/zmtp"
	"fanin/sink"
)

// TestParts puts random messages of five topics into blocks, offers them to a subscriber
// of some topics that takes them now and then, and compares with a plain list: what is
// taken or dropped is exactly what was subscribed to, in order, and the bounds hold.
func TestParts(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 300 {
		most := 1 + random.IntN(40)
		var s subscriptions
		for _, topic := range []string{"a", "b", "c", "d", "e"} {
			if random.IntN(2) == 0 {
				s.add([]byte(topic))
			}
		}
		if random.IntN(4) == 0 {
			s.add(nil)
		}
		var q parts
		var waiting []string // the model
		dropped, number := 0, 0
		b := newBlock(1, 0)
		for range 200 {
			if random.IntN(20) == 0 || len(b.added) > maxRuns-8 {
				b = newBlock(b.number+1, 0)
			}
			for range random.IntN(8) {
				topic, line := []string{"a", "b", "c", "d", "e"}[random.IntN(5)], fmt.Sprint(number)
				number++
				b.add(max(most/2, 1), []byte(topic), []byte(line))
				if s.match([]byte(topic)) {
					waiting = append(waiting, string(zmtp.AppendMessage(nil, []byte(topic), []byte(line))))
				}
			}
			first := b.number - min(b.number, 3)
			from, to := b.offering()
			q.add(b, from, to, &s)
			n := q.dropTo(most, first)
			dropped += n
			waiting = waiting[n:]
			if q.messages != len(waiting) || q.messages > most {
				t.Fatalf("round %d: %d messages wait, want %d of at most %d", round, q.messages, len(waiting), most)
			}
			for random.IntN(3) == 0 && len(q.list) > 0 {
				p := q.take()
				var got []byte
				taken := 0
				for messages, n := range p.stretches {
					got = append(got, messages...)
					taken += n
				}
				var want []byte
				for _, m := range waiting[:taken] {
					want = append(want, m...)
				}
				if !slices.Equal(got, want) || taken != int(p.messages) {
					t.Fatalf("round %d: took %q, want %q", round, got, want)
				}
				waiting = waiting[taken:]
			}
			for _, p := range q.list {
				if p.block.number < first {
					t.Fatalf("round %d: block %d of %d is kept", round, p.block.number, b.number)
				}
			}
		}
	}
}

// A block does not grow beyond what it was made with, so that what was offered of it stays
// where it is.
func TestBlockBounds(t *testing.T) {
	b := newBlock(1, 0)
	for i := 0; b.fits(100); i++ {
		b.add(1, []byte{byte(i)}, make([]byte, 50))
	}
	if b.used > blockSize || len(b.added) > maxRuns || len(b.data) != blockSize {
		t.Errorf("%d bytes in %d runs", b.used, len(b.added))
	}
	long := newBlock(2, 1<<20)
	if !long.fits(1<<20) || long.fits(1<<20+1) {
		t.Errorf("a long block has %d bytes", len(long.data))
	}
}

// With many subscribers each may wait for less: what is noted of all of them is bounded.
func TestKept(t *testing.T) {
	for subscribers, want := range map[int]uint64{0: keptBlocks, 64: keptBlocks, 128: keptBlocks / 2, 100_000: leastBlocks} {
		if got := kept(subscribers); got != want {
			t.Errorf("%d subscribers may wait for %d blocks, want %d", subscribers, got, want)
		}
	}
}

// TestEncoding: the bytes of messages, short and long, with and without a counter.
func TestEncoding(t *testing.T) {
	var got []byte
	keep := func(b *block, from, to int) { got = append(got, b.data[b.added[from].from:b.added[to-1].to]...) }
	e := &encoder{sink: &sink.Sink{Format: "syslog"}, most: 10, sequence: true}
	const line = "2026-11-26T00:00:00.000000Z web nginx: hello"
	e.add([]byte(line), keep)
	e.add([]byte(line), keep)
	e.flush(keep)
	e.sequence = false
	e.add([]byte("raw"), keep)
	long := line + strings.Repeat("x", 100_000)
	e.add([]byte(long), keep)
	e.flush(keep)
	want := "\x01\x09web/nginx\x01\x2c" + line + "\x00\x04\x00\x00\x00\x00" +
		"\x01\x09web/nginx\x01\x2c" + line + "\x00\x04\x01\x00\x00\x00" +
		"\x01\x03-/-\x00\x03raw" +
		"\x01\x09web/nginx\x02\x00\x00\x00\x00\x00\x01\x86\xcc" + long
	if string(got) != want {
		t.Errorf("encoded as %q..., want %q...", got[:min(len(got), 300)], want[:300])
	}
	if e.block.number != 2 || len(e.block.data) < len(long) {
		t.Errorf("the long line is in block %d of %d bytes", e.block.number, len(e.block.data))
	}
}
