package sink

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

func idOf(n byte) (id wire.StreamID) {
	for i := range id {
		id[i] = n + byte(i)
	}
	return id
}

// golden reads the bytes of an annotated file: what is on disks that hold logs.
func golden(t testing.TB, name string) (b []byte) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".golden"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		digits, _, _ := strings.Cut(line, "|")
		part, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b = append(b, part...)
	}
	return b
}

func pinned(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	want := golden(t, name)
	if !bytes.Equal(got, want) {
		t.Errorf("%s: written\n%swant\n%s", name, hex.Dump(got), hex.Dump(want))
	}
	return want
}

// goldenFrame opens a stream and holds three lines of it, of which the text says
// "a line" and "another", and one of no stream.
func goldenFrame() *frame {
	f := &frame{
		walEpoch: 0x1122334455667788, lsn: 7, durable: 6, generation: 3, position: 4096,
		names: []names{{kind: wire.StreamAgent, own: idOf(0x60), agent: "web-1", address: "192.0.2.7", host: "web01", source: "nginx", identity: "\x01\x02\x03"}},
		text:  []byte("web01 nginx: a line\nweb01 nginx: another\n- -: x\n"),
	}
	f.records = []record{
		{stream: idOf(0x10), epoch: 2, op: wire.OpOpen, offset: 128, end: 128, after: 9},
		{stream: idOf(0x10), epoch: 2, lines: 2, length: 41, offset: 128, end: 143, after: 0x99aabbccddeeff00, time: 1795366800123456, position: 4096},
		{lines: 1, length: 7, time: 1795366800123457, position: 4137},
	}
	text := f.text
	for i := range f.records {
		r := &f.records[i]
		r.sum, text = disk.Checksum(text[:r.length]), text[r.length:]
	}
	return f
}

func TestFrameGolden(t *testing.T) {
	f := goldenFrame()
	want := pinned(t, "frame", append(f.appendHead(nil), f.text...))
	got, n, err := parseFrame(want)
	if err != nil || n != len(want) || !reflect.DeepEqual(got, f) {
		t.Errorf("read as\n%+v, %d bytes, %v; want\n%+v, %d bytes", got, n, err, f, len(want))
	}
}

func TestSlotGolden(t *testing.T) {
	s := &checkpointSlot{
		Version: slotVersion, Seq: 5, Log: idOf(0x40).String(), LogIncarnation: idOf(0x50).String(), Boot: "a-boot", Sync: syncCommit,
		WALEpoch: 11, LSN: 12, Head: 13, WALSize: 14, Generation: 15, Inode: 16, Size: 17, Ledger: 18, CatalogLog: 19, CatalogLogSize: 20,
		Time: time.Date(2026, 11, 22, 17, 0, 0, 0, time.UTC), Rotating: true,
	}
	b, err := s.encode()
	if err != nil {
		t.Fatal(err)
	}
	want := pinned(t, "slot", bytes.TrimRight(b, "\x00"))
	got, err := decodeCheckpoint(append(want, make([]byte, blockSize-len(want))...))
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("read as %+v, %v", got, err)
	}
}

// goldenEntries are a table's: a stream, another one that went, a generation and one that went.
func goldenEntries() (c *catalog, b []byte) {
	c = newCatalog()
	st := &stream{id: idOf(0x10), seen: 1795366800123456, batches: 2}
	goldenFrame().names[0].nameStream(st)
	st.Watermark = wire.Watermark{Epoch: 2, Point: wire.Point{Offset: 70000, Tail: 0x1122334455667788}, Trail: []wire.Point{{Offset: 100, Tail: 5}}}
	g := &generation{number: 3, name: "all-2026-11-22T17-00-00.000.log", inode: 77, size: 1 << 20, state: statePlain,
		opened: time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC), closed: time.Date(2026, 11, 22, 17, 0, 0, 0, time.UTC)}
	c.addStream(st)
	c.generations = append(c.generations, g)
	x, goneTomb := &tomb{id: idOf(0x70), epoch: 1, offset: 300, lines: 20}, &tomb{id: idOf(0x80)}
	c.tombs.add(x)
	c.tombs.clean()
	gone, goneGeneration := &stream{id: idOf(0x20)}, &generation{number: 2}
	(&names{kind: wire.StreamLossy, agent: "udp-1"}).nameStream(gone)
	for _, e := range [][]byte{st.entry(nil, false), gone.entry(nil, false), gone.entry(nil, true), goneGeneration.entry(nil, false), g.entry(nil, false), goneGeneration.entry(nil, true),
		goneTomb.entry(nil, false), x.entry(nil, false), goneTomb.entry(nil, true)} {
		b = appendEntry(b, e)
	}
	return c, b
}

func TestTableGolden(t *testing.T) {
	c, b := goldenEntries()
	want := pinned(t, "table", b)
	got := newCatalog()
	if _, err := got.load(want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.streams, c.streams) || !reflect.DeepEqual(got.tombs.byID, c.tombs.byID) || !reflect.DeepEqual(got.generations, c.generations) {
		t.Errorf("read as %+v, %+v", got.streams[idOf(0x10)], got.generations[0])
	}
}

// mended makes the sums of a frame right, so that what lies behind them is met
// too: a writer that knows the sums may write anything.
func mended(b []byte) []byte {
	b = bytes.Clone(b)
	le := binary.LittleEndian
	if len(b) < frameHeader {
		return b
	}
	le.PutUint32(b, frameMagic)
	records, text := int64(le.Uint32(b[52:])), int64(le.Uint32(b[48:]))
	head := frameHeader + records*recordSize + int64(le.Uint32(b[56:])) + int64(le.Uint32(b[60:]))
	if head > int64(len(b)) {
		return b
	}
	at := head
	for i := range records {
		r := b[frameHeader+i*recordSize:][:recordSize]
		if n := int64(le.Uint32(r[28:])); at+n <= min(head+text, int64(len(b))) {
			le.PutUint32(r[72:], disk.Checksum(b[at:at+n]))
			at += n
		}
		le.PutUint32(r[76:], disk.Checksum(r[:76]))
	}
	le.PutUint32(b[4:], disk.Checksum(b[8:head]))
	return b
}

func FuzzFrame(f *testing.F) {
	whole := golden(f, "frame")
	f.Add(whole, false)
	f.Add(whole[:len(whole)-1], false)
	f.Add(golden(f, "frame-extension"), true)
	f.Add(bytes.Replace(whole, []byte("another"), []byte("brother"), 1), true)
	f.Add(append([]byte("fWAL"), bytes.Repeat([]byte{0xff}, 60)...), false) // claims everything there could be
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend {
			b = mended(b)
		}
		got, n, err := parseFrame(b)
		if err != nil {
			if !errors.Is(err, errFrame) && !errors.Is(err, errNewerRelease) {
				t.Errorf("%v is neither errFrame nor errLater", err)
			}
			return
		}
		again, m, err := parseFrame(append(got.appendHead(nil), got.text...))
		if n > len(b) || m != n || err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%+v of %d bytes is written, and read as %+v of %d, %v", got, n, again, m, err)
		}
	})
}

// FuzzWAL reads a ring of any content: it ends, and returns frames of one life
// with their numbers in order, or says where the damage is.
func FuzzWAL(f *testing.F) {
	f.Add(golden(f, "frame"), golden(f, "frame"), uint64(0x1122334455667788), uint64(6), int64(0))
	f.Add(golden(f, "frame"), golden(f, "frame")[:200], uint64(0x1122334455667788), uint64(5), int64(4*blockSize))
	f.Fuzz(func(t *testing.T, one, two []byte, life, lsn uint64, head int64) {
		const size = 8 * blockSize
		ring := make([]byte, size)
		copy(ring, mended(one))
		copy(ring[5*blockSize:], mended(two))
		r := &walReader{f: bytes.NewReader(ring), path: "wal", size: size, epoch: life, lsn: lsn, head: max(head, 0) % (4 * size)}
		for range size {
			fr, err := r.next()
			var damaged *DamagedError
			if err != nil && !errors.As(err, &damaged) {
				t.Fatal(err)
			}
			if fr == nil {
				wholeFrames(bytes.NewReader(ring), size)
				return
			}
			if lsn++; fr.walEpoch != life || fr.lsn != lsn {
				t.Fatalf("frame %d of life %d; want %d of %d", fr.lsn, fr.walEpoch, lsn, life)
			}
		}
		t.Fatal("no end")
	})
}

func FuzzSlot(f *testing.F) {
	b := golden(f, "slot")
	f.Add(b, false)
	f.Add(b[:len(b)-1], false)
	f.Add(b, true)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		b = append(bytes.Clone(b), make([]byte, max(0, blockSize-len(b)))...)
		if n := int64(binary.LittleEndian.Uint32(b[8:])); mend && n <= blockSize-slotHeader {
			binary.LittleEndian.PutUint32(b, slotMagic)
			binary.LittleEndian.PutUint32(b[4:], disk.Checksum(b[8:slotHeader+n]))
		}
		s, err := decodeCheckpoint(b)
		if err != nil {
			return
		}
		again, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeCheckpoint(again); err != nil || *got != *s {
			t.Errorf("%+v is written, and read as %+v, %v", s, got, err)
		}
	})
}

func FuzzTable(f *testing.F) {
	b := golden(f, "table")
	f.Add(b, false)
	f.Add(b[:len(b)-1], false)
	f.Add(b[8:72], true)
	f.Add(golden(f, "table-keys"), false)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend {
			b = appendEntry(nil, b)
		}
		c := newCatalog()
		if at, err := c.load(b); err != nil {
			if at > len(b) {
				t.Errorf("met a bad entry at %d of %d bytes", at, len(b))
			}
			return
		}
		again := newCatalog()
		if _, err := again.load(c.all(nil)); err != nil {
			t.Errorf("what was read cannot be read again: %v", err)
		}
		if len(again.streams) != len(c.streams) || len(again.generations) != len(c.generations) {
			t.Errorf("%d streams and %d generations became %d and %d", len(c.streams), len(c.generations), len(again.streams), len(again.generations))
		}
		if c.keys.check(t); again.keys.count != c.keys.count || len(again.extensions.values) != len(c.extensions.values) {
			t.Errorf("%d keys and %d extensions became %d and %d", c.keys.count, len(c.extensions.values), again.keys.count, len(again.extensions.values))
		}
	})
}
