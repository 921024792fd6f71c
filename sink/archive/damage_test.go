package archive

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// gzipped is a gzip file of one member for each part, as any tool makes it.
func gzipped(t testing.TB, parts ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, part := range parts {
		z := gzip.NewWriter(&b)
		if _, err := z.Write(part); err != nil {
			t.Fatal(err)
		}
		z.Close()
	}
	return b.Bytes()
}

func TestArchiveOfOthers(t *testing.T) {
	text := archiveText(200 << 10)
	path := writeText(t, text)
	if out, err := exec.Command("gzip", "-k", path).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	_, own := compressed(t, text)
	packed, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"gzip's":       path + ".gz",
		"two in a row": writeText(t, gzipped(t, text[:1000], text[1000:])),
	} {
		a := opened(t, path)
		if a.members != nil || !bytes.Equal(readAll(t, a), text) {
			t.Errorf("%s: table %v, %d bytes", name, a.members != nil, a.Size())
		}
		p := make([]byte, 10)
		if _, err := a.ReadAt(p, 5); err != nil || !bytes.Equal(p, text[5:15]) {
			t.Errorf("%s: turning back: %q, %v", name, p, err)
		}
	}
	// cat one.gz two.gz: the table is the second one's, and does not fit the file.
	a := opened(t, writeText(t, slices.Concat(packed, packed)))
	if a.members != nil || !bytes.Equal(readAll(t, a), slices.Concat(text, text)) {
		t.Errorf("two archives in one file: table %v, %d bytes", a.members != nil, a.Size())
	}
}

func TestArchiveCutOff(t *testing.T) {
	_, path := compressed(t, archiveText(2<<20))
	packed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	members := opened(t, path).members
	for _, n := range []int64{0, 1, 9, 100, members[1].packed - 1, members[1].packed + 1, members[1].packed + 5000, members[2].packed + 3} {
		cut := writeText(t, packed[:n])
		a, err := Open(context.Background(), nil, cut)
		if err == nil {
			a.Close()
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), cut) {
			t.Errorf("cut off after %d bytes: %v, want a word that it is cut off, and its name", n, err)
		}
	}
}

func TestArchiveDamaged(t *testing.T) {
	text := archiveText(memberText + 1000)
	_, path := compressed(t, text)
	packed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	members := opened(t, path).members
	rapid.Check(t, func(r *rapid.T) {
		at := rapid.IntRange(0, len(packed)-1).Draw(r, "at")
		damaged := bytes.Clone(packed)
		damaged[at] ^= byte(1 << rapid.IntRange(0, 7).Draw(r, "bit"))
		a, err := Open(context.Background(), nil, writeText(t, damaged))
		if err != nil {
			return // without its table the damage is found at once
		}
		defer a.Close()
		p := make([]byte, 512<<10)
		for off := int64(0); off < a.Size(); off += int64(len(p)) {
			n, err := a.ReadAt(p, off)
			if !bytes.Equal(p[:n], text[off:off+int64(n)]) {
				r.Fatalf("a bit at %d: wrong text at %d and no error", at, off)
			}
			if err != nil && err != io.EOF && a.members != nil && int64(at) >= members[len(members)-1].packed {
				r.Fatalf("a bit at %d, in no data member: %v", at, err)
			}
		}
	})
}

// After a member that cannot be read, the others still can.
func TestArchiveAfterDamage(t *testing.T) {
	text := archiveText(2*memberText + 1000)
	_, path := compressed(t, text)
	packed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	members := opened(t, path).members
	packed[members[2].packed-8] ^= 1 // the second member's checksum
	a := opened(t, writeText(t, packed))
	p := make([]byte, 100)
	for i, off := range []int64{5, members[1].text + 5, 5, members[2].text + 5} {
		_, err := a.ReadAt(p, off)
		if i == 1 {
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("damaged near byte %d ", members[1].text)) {
				t.Errorf("in the damaged member: %v", err)
			}
		} else if err != nil || !bytes.Equal(p, text[off:off+100]) {
			t.Errorf("at %d, beside the damaged member: %q, %v", off, p, err)
		}
	}
}

// A table that agrees with itself but not with the members must not be believed.
func TestArchiveLyingTable(t *testing.T) {
	members := gzipped(t, []byte("0123456\n"))
	for name, c := range map[string]struct{ packed, text uint32 }{
		"more text than there is": {uint32(len(members)), 9},
		"less text than there is": {uint32(len(members)), 7},
	} {
		table := []byte{byte(c.packed), 0, 0, 0, byte(c.text), 0, 0, 0}
		a := opened(t, writeText(t, appendTable(bytes.Clone(members), table, int64(len(members)), int64(c.text))))
		if n, err := a.ReadAt(make([]byte, 1), 0); err == nil || n != 0 {
			t.Errorf("%s: %d bytes, %v, want an error", name, n, err)
		}
	}
	// Two entries in each other's place: the sums agree, the checksum does not.
	two := gzipped(t, []byte("01\n"), []byte("012345678901234567890123456789\n"))
	first := byte(len(gzipped(t, []byte("01\n"))))
	table := []byte{first, 0, 0, 0, 3, 0, 0, 0, byte(len(two)) - first, 0, 0, 0, 31, 0, 0, 0}
	swapped := bytes.Replace(appendTable(two, table, int64(len(two)), 34), table, slices.Concat(table[8:], table[:8]), 1)
	if a := opened(t, writeText(t, swapped)); a.members != nil || a.Size() != 34 {
		t.Errorf("a table in disorder was believed: %v", a.members)
	}
	endless := appendTable(bytes.Clone(members), nil, int64(len(members)), 8)
	for _, n := range []int64{tableEntries, 1<<32 - 1} { // a place of the table that fits them, before the file begins
		room := n*tableEntry + (n+tableEntries-1)/tableEntries*tableMember + endMember
		claims := endless[len(endless)-34:]
		binary.LittleEndian.PutUint64(claims, uint64(int64(len(endless))-room))
		binary.LittleEndian.PutUint32(claims[16:], uint32(n))
		if a := opened(t, writeText(t, endless)); a.members != nil || a.Size() != 8 {
			t.Errorf("%d members were believed: %d bytes", n, a.Size())
		}
	}
	huge := appendTable(bytes.Clone(members), []byte{byte(len(members)), 0, 0, 0, 0, 0, 0, 0xff}, int64(len(members)), 0xff000000)
	if a := opened(t, writeText(t, huge)); a.members != nil || a.Size() != 8 {
		t.Errorf("a member of 4 GiB was believed: %d bytes", a.Size())
	}
}

func FuzzOpenArchive(f *testing.F) {
	for _, text := range archiveTexts() {
		if len(text) > 1000 {
			continue
		}
		_, path := compressed(f, text)
		packed, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
		f.Add(packed[:len(packed)/2])
		f.Add(gzipped(f, text))
		f.Add(appendTable(slices.Clone(packed), packed[:8], int64(len(packed)), 5))
	}
	f.Add(unhex(f, goldenTail))
	f.Add([]byte("no gzip at all, but longer than the end member would have to be\n"))
	f.Fuzz(func(t *testing.T, packed []byte) {
		if len(packed) > 16<<10 {
			return // deflate makes a thousand times as much of it
		}
		a, err := Open(context.Background(), nil, writeText(t, packed))
		if err != nil {
			return
		}
		defer a.Close()
		text, err := io.ReadAll(io.NewSectionReader(a, 0, a.Size()))
		if err != nil {
			if a.members == nil {
				t.Fatalf("opened, and yet: %v", err)
			}
			return
		}
		if int64(len(text)) != a.Size() {
			t.Fatalf("%d bytes of %d", len(text), a.Size())
		}
		p := make([]byte, len(text)/2)
		if n, err := a.ReadAt(p, int64(len(text)/3)); err != nil || !bytes.Equal(p[:n], text[len(text)/3:][:n]) {
			t.Fatalf("read again from the middle: %d bytes, %v", n, err)
		}
	})
}
