package spool

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/disk/disktest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// segmentFile returns the bytes of a segment with this many lines, each a record.
func segmentFile(t *testing.T, n int) []byte {
	t.Helper()
	s := open(t, quick(disktest.TempDir(t)))
	fill(t, s, 0, n)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(s.Dir, name(1)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// put makes the directory of a spool whose one segment has these bytes.
func put(t *testing.T, dir string, segment []byte) Settings {
	t.Helper()
	os.RemoveAll(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name(1)), segment, 0o600); err != nil {
		t.Fatal(err)
	}
	return quick(dir)
}

// skipped is how many bytes of streams the collector was told to skip, and for which reasons.
func skipped(m *appendertest.Memory) (n int64, reasons []string) {
	for _, b := range m.Kept() {
		if b.Op == wire.OpSkip {
			n += b.End - max(b.Offset, firstByte)
			reasons = append(reasons, b.Reason)
		}
	}
	return n, reasons
}

// TestEveryByteFlipped: one damaged byte loses the record that it is in, which is skipped and
// counted; in the header it loses nothing.
func TestEveryByteFlipped(t *testing.T) {
	const n = 20
	whole := segmentFile(t, n)
	want := func(at int) int { // the end record is none
		if at >= len(whole)-endSize {
			return 0
		}
		return 1
	}
	dir := filepath.Join(disktest.TempDir(t), "spool")
	for at := range whole {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 1 << (at % 8)
		m := collector()
		s := open(t, put(t, dir, damaged))
		drain(t, s, m)
		lost := 0
		got := strings.SplitAfter(text(m), "\n")
		for line := range strings.Lines(numbered(0, n)) {
			if len(got) > 0 && got[0] == line {
				got = got[1:]
			} else {
				lost++
			}
		}
		if len(got) != 1 || got[0] != "" {
			t.Fatalf("byte %d: there are lines that are none: %q", at, got)
		}
		bytes, reasons := skipped(m)
		if at < firstByte && (lost > 0 || bytes > 0) || at >= firstByte && (lost != want(at) || bytes == 0) {
			t.Fatalf("byte %d: %d lines are lost; skipped %d bytes: %q", at, lost, bytes, reasons)
		}
		if c := s.Counts()["spool_damaged_bytes"]; c != uint64(bytes) {
			t.Fatalf("byte %d: %d damaged bytes are counted, %d were skipped", at, c, bytes)
		}
		checkClean(t, s, m)
	}
}

// TestTornEnd: a segment that ends anywhere has all records that are whole.
func TestTornEnd(t *testing.T) {
	const n = 8
	whole := segmentFile(t, n)
	dir := filepath.Join(disktest.TempDir(t), "spool")
	for end := range whole {
		for _, zeros := range []int{0, 700} {
			m := collector()
			s := open(t, put(t, dir, append(bytes.Clone(whole[:end]), make([]byte, zeros)...)))
			drain(t, s, m)
			lines := strings.Count(text(m), "\n")
			if text(m) != numbered(0, lines) {
				t.Fatalf("%d bytes: %q", end, text(m))
			}
			if left := recordsIn(whole, end); lines != left {
				t.Fatalf("%d bytes: %d lines, want %d", end, lines, left)
			}
		}
	}
}

// recordsIn counts the records that are whole in the first end bytes of a segment.
func recordsIn(segment []byte, end int) (n int) {
	if end < headerSize {
		return 0
	}
	for at := firstByte; at+endSize < len(segment); n++ {
		if at += sizeOf(segment[at:]); at > end {
			break
		}
	}
	return n
}

// TestDamageBehindWatermark: what the collector has may be damaged, and the rest is sent once.
func TestDamageBehindWatermark(t *testing.T) {
	m := collector()
	dir := half(t, m, 1000)
	at, _ := m.State(m.Streams()[0])
	path := filepath.Join(dir, name(1))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[firstByte:at.Offset])
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, quick(dir))
	drain(t, s, m)
	checkText(t, m, numbered(0, 1000))
	checkClean(t, s, m)
}
