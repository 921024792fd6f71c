package gelf

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/internal/counters"
)

// tested is chunks, and what was counted by reason.
type tested struct {
	*chunks
}

// newTestChunks returns chunks with a limit of memory, for messages of up to largest bytes.
func newTestChunks(limit int64, largest int) tested {
	l := &losses{metrics: metrics{new(ingest.Metrics)}, lines: new(counters.Set).New("gelf", counters.None),
		notice: func(string, ...any) {}, tallies: make(map[kindOfLoss]*tally)}
	return tested{newChunks(l, limit, largest)}
}

func (c tested) lost(t testing.TB, reason string) int {
	t.Helper()
	return ingesttest.Metric(t, c.losses.metrics.Metrics, "fanin_gelf_lost_messages_total", reason)
}

func (c tested) ignored(t testing.TB, reason string) int {
	t.Helper()
	return ingesttest.Metric(t, c.losses.metrics.Metrics, "fanin_gelf_ignored_chunks_total", reason)
}

var peers = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}

// A message whose chunks do not all come is forgotten after 5 s, and its id may then be used
// again. Until then a late chunk begins no other.
func TestChunksExpire(t *testing.T) {
	c := newTestChunks(1<<20, 1000)
	at := time.Now()
	message := inChunks("12345678", []byte("0123456789"), 5)
	if c.add(peers[0], "a", message[0], at) != nil || c.add(peers[1], "b", message[0], at.Add(time.Second)) != nil {
		t.Fatal("half a message is one")
	}
	c.expire(at.Add(maxAge - 1))
	if c.lost(t, lostTimeout) != 0 {
		t.Fatal("expired early")
	}
	c.expire(at.Add(maxAge))
	if c.lost(t, lostTimeout) != 1 || len(c.parts) != 1 {
		t.Fatalf("%d are lost, %d messages are there", c.lost(t, lostTimeout), len(c.parts))
	}
	if c.add(peers[0], "a", message[1], at.Add(maxAge+1)) != nil || c.ignored(t, chunkDoubled) != 1 {
		t.Error("a late chunk counts")
	}
	if whole := c.add(peers[1], "b", message[1], at.Add(maxAge)); string(whole) != "0123456789" {
		t.Errorf("the other peer's message is %q", whole)
	}
	later := at.Add(2*maxAge + 2)
	c.add(peers[0], "a", message[1], later)
	if whole := c.add(peers[0], "a", message[0], later); string(whole) != "0123456789" {
		t.Errorf("with the id used again, the message is %q", whole)
	}
	if c.budget.Used() != 0 || len(c.senders) != 0 || c.oldest.Len() != 0 {
		t.Errorf("%d bytes and %d senders are left", c.budget.Used(), len(c.senders))
	}
}

// A sender of halves forgets its own oldest ones and leaves those of others alone; many
// senders together forget the oldest of all.
func TestChunksMemory(t *testing.T) {
	c := newTestChunks(256<<10, 1000)
	at := time.Now()
	good := inChunks("its good", bytes.Repeat([]byte("x"), 900), 500)
	c.add(peers[1], "good", good[0], at)
	for i := range 10_000 {
		id := string([]byte{byte(i), byte(i >> 8), 0, 0, 0, 0, 0, 0})
		c.add(peers[0], "bad", inChunks(id, []byte("0123456789"), 5)[0], at)
		if used := c.budget.Used(); used > 256<<10 || c.senders[netip.PrefixFrom(peers[0], 32)].held > c.share() {
			t.Fatalf("%d bytes are held", used)
		}
	}
	if whole := c.add(peers[1], "good", good[1], at); len(whole) != 900 {
		t.Error("another sender's message was forgotten")
	}
	if want := 10_000 - int(c.share()>>12); c.lost(t, lostMemory) != want {
		t.Errorf("%d messages were forgotten, want %d", c.lost(t, lostMemory), want)
	}
	c.add(peers[1], "good", inChunks("2nd good", bytes.Repeat([]byte("x"), 900), 500)[0], at)
	for i := range 1000 {
		from := netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
		c.add(from, "forged", inChunks("12345678", []byte("0123456789"), 5)[0], at)
	}
	if used := c.budget.Used(); used > 256<<10 || len(c.parts) != 64 || len(c.senders) > 64 {
		t.Errorf("%d bytes, %d messages, %d senders are held", used, len(c.parts), len(c.senders))
	}
	c.expire(time.Time{})
	if c.budget.Used() != 0 || c.lost(t, lostStopped) != 64 {
		t.Errorf("%d bytes are left; %d are lost", c.budget.Used(), c.lost(t, lostStopped))
	}
}

// A message in any order of its chunks, some of them doubled, among those of others: it is
// what was divided. Memory is always that of what is there.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("a message in chunks"), uint8(3), []byte{2, 0, 1, 0, 5, 4, 3, 6})
	f.Add([]byte("x"), uint8(1), []byte{0, 0})
	f.Add(bytes.Repeat([]byte("y"), 5000), uint8(40), []byte{9, 8, 7, 200, 100, 3})
	f.Fuzz(func(t *testing.T, message []byte, size uint8, order []byte) {
		if len(message) == 0 || size == 0 || (len(message)+int(size)-1)/int(size) > maxChunks {
			return
		}
		c := newTestChunks(1<<20, 64<<10)
		at := time.Now()
		all := inChunks("12345678", message, int(size))
		var whole []byte
		put := func(i int) {
			if got := c.add(peers[0], "a", all[i], at); got != nil {
				if whole != nil {
					t.Fatal("it is there twice")
				}
				whole = bytes.Clone(got)
			}
		}
		for _, i := range order {
			if int(i) < len(all) {
				put(int(i))
			}
			c.add(peers[1], "b", all[0][:min(len(all[0]), int(i))], at)
			if i > 200 {
				c.add(peers[1], "b", append([]byte(chunkMagic), order...), at)
			}
		}
		for i := range all {
			put(i)
		}
		if !bytes.Equal(whole, message) || c.lost(t, lostMemory) != 0 {
			t.Fatalf("%q became %q", message, whole)
		}
		c.expire(time.Time{})
		if c.budget.Used() != 0 || len(c.senders) != 0 || len(c.parts) != 0 || c.oldest.Len() != 0 {
			t.Fatalf("%d bytes are left", c.budget.Used())
		}
	})
}
