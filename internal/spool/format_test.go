package spool

import (
	"bytes"
	"encoding/hex"
	"os"
	"testing"
	"time"

	"fanin/internal/wire"
)

// golden is a segment with fixed ids: two records of lines, a gap, and its end.
func golden() []byte {
	h := header{stream: wire.StreamID{1, 2, 3}, spool: wire.StreamID{4, 5, 6}, number: 7, agent: "web-1"}
	at := time.Date(2026, 11, 26, 3, 4, 5, 678_000, time.UTC).UnixMicro()
	g := gap{first: 5, lines: 1000, bytes: 65_536}
	var records []byte
	for _, r := range []record{
		{time: at, lines: 2, text: []byte("one\ntwo\n")},
		{time: at + 1, lines: 1, source: []byte("app[17]"), text: []byte("three\n")},
		{time: at + 2, kind: kindGap, text: g.append(nil)},
	} {
		records = r.append(records)
	}
	setSums(&h.stream, firstByte, records)
	records = append(records, endRecord(&h.stream, firstByte+int64(len(records)))...)
	return append(h.append(nil), records...)
}

// TestFormat: segments of all releases have these bytes, which the next ones must read.
func TestFormat(t *testing.T) {
	const path = "testdata/segment.hex"
	if os.Getenv("FANIN_UPDATE") != "" {
		if err := os.WriteFile(path, []byte(hex.Dump(golden())), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.Dump(golden()); got != string(want) {
		t.Errorf("the format has changed:\n%s\nwant\n%s", got, want)
	}
	m := collector()
	drain(t, open(t, put(t, t.TempDir(), golden())), m)
	_, reasons := skipped(m)
	if text(m) != "one\ntwo\nthree\n" || len(reasons) != 1 || reasons[0] != "the spool was full: dropped 1000 lines, 65536 bytes" {
		t.Errorf("%q, skipped %q", text(m), reasons)
	}
}

// TestPlaceFormat: the same for what is saved beside the segments.
func TestPlaceFormat(t *testing.T) {
	p := place{spool: wire.StreamID{1}, stream: wire.StreamID{2}, epoch: 3, Point: wire.Point{Offset: 4, Tail: 1 << 63},
		log: logID{wire.StreamID{5}, wire.StreamID{6}}}
	const want = "fanin-spool 1\n5ad5c6fb {\"spool\":\"01000000000000000000000000000000\",\"stream\":\"02000000000000000000000000000000\"," +
		"\"epoch\":3,\"offset\":4,\"tail\":9223372036854775808,\"log\":\"05000000000000000000000000000000\",\"incarnation\":\"06000000000000000000000000000000\"}\n"
	if got := string(p.format()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, err := parsePlace([]byte(want)); got != p || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// FuzzSegment: whatever a segment holds, reading it ends at its end, and what it yields
// passes a batch's own checks.
func FuzzSegment(f *testing.F) {
	g := golden()
	f.Add(g[firstByte:], false, uint16(0))
	f.Add(g[firstByte:], true, uint16(0))
	f.Add(g[firstByte:firstByte+60], false, uint16(3))
	f.Add(append(bytes.Clone(g[firstByte:]), make([]byte, 100)...), true, uint16(30))
	f.Fuzz(func(t *testing.T, records []byte, sums bool, seek uint16) {
		stream := wire.StreamID{1, 2, 3}
		if sums {
			sumAll(&stream, records)
		}
		whole := append(make([]byte, firstByte), records...)
		end := int64(len(whole))
		r := segmentReader{file: bytes.NewReader(whole), stream: stream}
		var b batch
		for c := (cursor{}); ; c = b.to {
			if err := r.read(&b, c, end, 2<<10); err != nil {
				t.Fatal(err)
			}
			if b.isEmpty() {
				if c.at() < end && c.offset != 0 {
					t.Fatalf("it ends at %d of %d", c.at(), end)
				}
				break
			}
			if b.to.at() <= max(c.at(), firstByte-1) || b.to.at() > end {
				t.Fatalf("from %d to %d of %d", c.at(), b.to.at(), end)
			}
			if x := b.Batch; len(x.Text) > 0 {
				x.Stream, x.Offset, x.End = stream, c.at(), b.to.at()
				if err := x.Check(); err != nil {
					t.Fatal(err)
				}
			}
			b.hash(b.to.at())
		}
		if _, err := r.seek(firstByte+int64(seek), end); err != nil {
			t.Fatal(err)
		}
	})
}

// sumAll makes the records whole whose heads are.
func sumAll(stream *wire.StreamID, records []byte) {
	for at := 0; at+recordHead <= len(records); {
		n := sizeOf(records[at:])
		if n == 0 || at+n > len(records) {
			return
		}
		setSums(stream, int64(firstByte+at), records[at:at+n])
		at += n
	}
}
