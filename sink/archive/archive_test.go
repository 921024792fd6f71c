package archive

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fanin/internal/disk"
)

// archiveText is n bytes or a little more of lines as a log has them.
func archiveText(n int) []byte {
	var b bytes.Buffer
	random := rand.New(rand.NewPCG(1, uint64(n)))
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "2026-11-22T17:00:00.%06dZ web01 nginx: GET /%x %d\n", i, random.Uint64N(1<<40), i)
	}
	return b.Bytes()
}

func writeText(t testing.TB, text []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "all-2026-11-22T17-10-28.275.log")
	if err := os.WriteFile(path, text, 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func compressed(t testing.TB, text []byte) (path, archive string) {
	t.Helper()
	path = writeText(t, text)
	archive, err := Compress(context.Background(), nil, path, 0o640, nil)
	if err != nil {
		t.Fatal(err)
	}
	return path, archive
}

func opened(t testing.TB, path string) *Reader {
	t.Helper()
	a, err := Open(context.Background(), nil, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func readAll(t testing.TB, a *Reader) []byte {
	t.Helper()
	text, err := io.ReadAll(io.NewSectionReader(a, 0, a.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// archiveTexts are what an archive may be made of.
func archiveTexts() map[string][]byte {
	return map[string][]byte{
		"nothing":            nil,
		"one line":           []byte("hello\n"),
		"an unfinished line": []byte("hel"),
		"a member, exactly":  append(bytes.Repeat([]byte{'x'}, memberText-1), '\n'),
		"one byte more":      append(bytes.Repeat([]byte{'x'}, memberText), '\n'),
		"a line of 3 MiB":    append(bytes.Repeat([]byte("0123456789abcdef"), 3<<16), '\n'),
		"short and long":     slices.Concat(archiveText(100<<10), bytes.Repeat([]byte{'y'}, 2<<20), []byte{'\n'}, archiveText(1<<20)),
		"several members":    archiveText(3 << 20),
	}
}

func TestArchive(t *testing.T) {
	for name, text := range archiveTexts() {
		t.Run(name, func(t *testing.T) {
			path, archive := compressed(t, text)
			if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, text) {
				t.Errorf("the source changed: %d bytes, %v", len(left), err)
			}
			a := opened(t, archive)
			if a.members == nil {
				t.Fatal("no table found")
			}
			if a.Size() != int64(len(text)) || !bytes.Equal(readAll(t, a), text) {
				t.Errorf("an archive of %d bytes, want the %d of the source", a.Size(), len(text))
			}
			for i, p := range a.members[1:] {
				if n := p.text - a.members[i].text; n > memberText {
					t.Errorf("member %d holds %d bytes", i, n)
				}
			}
			checkStandard(t, archive, text)
		})
	}
}

// checkStandard reads the archive with the standard library and the real tools.
func checkStandard(t *testing.T, archive string, text []byte) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, text) {
		t.Errorf("compress/gzip reads %d bytes, want %d: %v", len(got), len(text), err)
	}
	if out, err := exec.Command("gzip", "-t", "-v", archive).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("OK")) {
		t.Errorf("gzip -t: %v: %s", err, out)
	}
	if out, err := exec.Command("zcat", archive).Output(); err != nil || !bytes.Equal(out, text) {
		t.Errorf("zcat gives %d bytes, want %d: %v", len(out), len(text), err)
	}
	if len(text) > 1<<20 {
		return
	}
	out, _ := exec.Command("zgrep", "-c", "", archive).Output()
	want := bytes.Count(text, []byte{'\n'})
	if len(text) > 0 && text[len(text)-1] != '\n' {
		want++
	}
	if got := strings.TrimSpace(string(out)); got != fmt.Sprint(want) {
		t.Errorf("zgrep counts %s lines, want %d", got, want)
	}
}

func TestArchiveCutsAtLineEnds(t *testing.T) {
	text := archiveText(5 << 20)
	_, archive := compressed(t, text)
	for _, p := range opened(t, archive).members[1:] {
		if text[p.text-1] != '\n' {
			t.Errorf("a member ends in the middle of a line, at %d", p.text)
		}
	}
}

// goldenTail is what follows the data members, as drawn in archive.go.
const goldenTail = `
1f 8b 08 04  00 00 00 00  00 ff     a table member: gzip, an extra field, no time
14 00  46 54  10 00                 20 bytes of it: 'F' 'T', 16 bytes
65 87 00 00  ff ff 0f 00            a data member of 0x8765 bytes, of 0xfffff bytes of text
21 43 00 00  05 00 00 00            a data member of 0x4321 bytes, of 5 bytes of text
03 00  00 00 00 00  00 00 00 00     nothing deflated, CRC-32, length
1f 8b 08 04  00 00 00 00  00 ff     the end member
1c 00  46 45  18 00                 28 bytes: 'F' 'E', 24 bytes
86 ca 00 00  00 00 00 00            bytes of all data members
04 00 10 00  00 00 00 00            bytes of all text
02 00 00 00                         two data members
40 46 d4 b9                         CRC-32C
03 00  00 00 00 00  00 00 00 00     nothing deflated, CRC-32, length
`

func unhex(t testing.TB, annotated string) (b []byte) {
	t.Helper()
	for line := range strings.Lines(annotated) {
		digits, _, _ := strings.Cut(line, "   ")
		part, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, part...)
	}
	return b
}

func TestArchiveTailGolden(t *testing.T) {
	table := []byte{0x65, 0x87, 0, 0, 0xff, 0xff, 0x0f, 0, 0x21, 0x43, 0, 0, 5, 0, 0, 0}
	got := appendTable(nil, table, 0xca86, 0x100004)
	if want := unhex(t, goldenTail); !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", hex.Dump(got), hex.Dump(want))
	}
}

// goldenArchive was written by the first version of this format; every later
// one must read it.
const goldenArchive = `
1f 8b 08 00  00 00 00 00  04 ff     a data member: gzip, no extra field, no time
00 0f 00 f0 ff                      deflated, or rather stored: 15 bytes
61 20 6c 69 6e 65 0a                "a line\n"
61 6e 6f 74 68 65 72 0a             "another\n"
03 00                               the end of what is deflated
cc 60 e8 1f  0f 00 00 00            CRC-32, length
1f 8b 08 04  00 00 00 00  00 ff     a table member
0c 00  46 54  08 00                 12 bytes: 'F' 'T', 8 bytes
28 00 00 00  0f 00 00 00            a data member of 40 bytes, of 15 bytes of text
03 00  00 00 00 00  00 00 00 00     nothing deflated, CRC-32, length
1f 8b 08 04  00 00 00 00  00 ff     the end member
1c 00  46 45  18 00                 28 bytes: 'F' 'E', 24 bytes
28 00 00 00  00 00 00 00            bytes of all data members
0f 00 00 00  00 00 00 00            bytes of all text
01 00 00 00                         one data member
dd 82 c9 54                         CRC-32C
03 00  00 00 00 00  00 00 00 00     nothing deflated, CRC-32, length
`

func TestArchiveGolden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "golden.gz")
	if err := os.WriteFile(path, unhex(t, goldenArchive), 0o600); err != nil {
		t.Fatal(err)
	}
	a := opened(t, path)
	if got := string(readAll(t, a)); a.members == nil || got != "a line\nanother\n" {
		t.Errorf("table %v, text %q", a.members, got)
	}
}

// More members than one table member has room for: 8 GiB and more of text.
func TestArchiveLongTable(t *testing.T) {
	for _, n := range []int{tableEntries - 1, tableEntries, tableEntries + 1, 3*tableEntries + 7} {
		var packed, table []byte
		var one bytes.Buffer
		z := gzip.NewWriter(&one)
		z.Write([]byte("0123456\n"))
		z.Close()
		for range n {
			packed = append(packed, one.Bytes()...)
			table = append(table, byte(one.Len()), 0, 0, 0, 8, 0, 0, 0)
		}
		path := writeText(t, appendTable(packed, table, int64(len(packed)), int64(8*n)))
		a := opened(t, path)
		if len(a.members) != n+1 || a.Size() != int64(8*n) {
			t.Fatalf("%d members: %d members, %d bytes", n, len(a.members), a.Size())
		}
		got := make([]byte, 12)
		if _, err := a.ReadAt(got, int64(8*n-12)); err != nil || string(got) != "456\n0123456\n" {
			t.Errorf("%d members: the end reads %q, %v", n, got, err)
		}
		if out, err := exec.Command("gzip", "-dc", path).Output(); !bytes.Equal(out, bytes.Repeat([]byte("0123456\n"), n)) && n > 0 {
			t.Errorf("%d members: gzip reads %d bytes, %v", n, len(out), err)
		}
	}
}

func TestArchiveReadAt(t *testing.T) {
	text := slices.Concat(archiveText(1<<20), bytes.Repeat([]byte{'z'}, 2<<20), []byte{'\n'}, archiveText(100<<10))
	_, path := compressed(t, text)
	foreign := writeText(t, gzipped(t, text[:300<<10], text[300<<10:400<<10]))
	for name, a := range map[string]*Reader{"with a table": opened(t, path), "without": opened(t, foreign)} {
		text := text[:a.Size()]
		t.Run(name, rapid.MakeCheck(func(r *rapid.T) {
			off := rapid.Int64Range(0, int64(len(text))+10).Draw(r, "offset")
			p := make([]byte, rapid.SampledFrom([]int{0, 1, 100, 4096, 300 << 10}).Draw(r, "length"))
			n, err := a.ReadAt(p, off)
			want := text[min(off, int64(len(text))):]
			want = want[:min(len(p), len(want))]
			if !bytes.Equal(p[:n], want) {
				r.Fatalf("ReadAt(%d bytes, %d) = %d bytes, want %d", len(p), off, n, len(want))
			}
			if n < len(p) && err != io.EOF || n == len(p) && err != nil {
				r.Fatalf("ReadAt(%d bytes, %d) = %d, %v", len(p), off, n, err)
			}
		}))
	}
	if _, err := opened(t, path).ReadAt(make([]byte, 1), -1); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a negative offset: %v", err)
	}
}

func TestArchiveTargetExists(t *testing.T) {
	path := writeText(t, archiveText(1000))
	if err := os.WriteFile(path+".gz", []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Compress(context.Background(), nil, path, 0o640, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v, want fs.ErrExist", err)
	}
	// It appears while the work is done.
	os.Remove(path + ".gz")
	d := &disk.Disk{Fault: func(op disk.Op, _ string) (int, error) {
		if op == disk.OpRename {
			os.WriteFile(path+".gz", []byte("precious"), 0o600)
		}
		return 0, nil
	}}
	if _, err := Compress(context.Background(), d, path, 0o640, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v, want fs.ErrExist", err)
	}
	if got, _ := os.ReadFile(path + ".gz"); string(got) != "precious" {
		t.Errorf("the file that was there reads %q", got)
	}
	onlyNames(t, path, filepath.Base(path), filepath.Base(path)+".gz")
}

func onlyNames(t *testing.T, path string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the directory holds %q, want %q", got, want)
	}
}

// Whatever access fails, the source is whole, there is no archive or a right
// one, and the next attempt succeeds.
func TestArchiveFaults(t *testing.T) {
	text := archiveText(memberText + 1000)
	for fail, renamed := 1, false; !renamed; fail++ {
		path := writeText(t, text)
		n := 0
		var failed disk.Op
		d := &disk.Disk{Fault: func(op disk.Op, _ string) (int, error) {
			if n++; n != fail {
				return 0, nil
			}
			failed = op
			return 1000, syscall.ENOSPC
		}}
		_, err := Compress(context.Background(), d, path, 0o640, nil)
		if failed == "" {
			if err != nil {
				t.Fatal(err)
			}
			break // that was the last access
		}
		if err == nil || !disk.IsFull(err) {
			t.Fatalf("access %d, a %s, fails: %v", fail, failed, err)
		}
		if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, text) {
			t.Fatalf("access %d, a %s, fails: the source holds %d bytes, %v", fail, failed, len(left), err)
		}
		if _, err := os.Lstat(path + ".gz"); err == nil {
			if !bytes.Equal(readAll(t, opened(t, path+".gz")), text) {
				t.Fatalf("access %d, a %s, fails: a wrong archive", fail, failed)
			}
			continue // the directory's sync failed
		}
		onlyNames(t, path, filepath.Base(path))
		if _, err := Compress(context.Background(), nil, path, 0o640, nil); err != nil {
			t.Fatalf("after access %d, a %s: %v", fail, failed, err)
		}
	}
}

func TestArchiveLeftover(t *testing.T) {
	path := writeText(t, archiveText(1000))
	left := TempName(path)
	if err := os.WriteFile(left, archiveText(5000), 0o600); err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(left)
	if !IsTemp(name) || SourceOfTemp(name) != filepath.Base(path) {
		t.Errorf("%q is not known as a half archive of %q", name, filepath.Base(path))
	}
	for _, other := range []string{filepath.Base(path), filepath.Base(path) + ".gz", ".all.log.fanin", ".gz.new.log"} {
		if IsTemp(other) {
			t.Errorf("%q is taken for a half archive", other)
		}
	}
	archive, err := Compress(context.Background(), nil, path, 0o640, nil)
	if err != nil || !bytes.Equal(readAll(t, opened(t, archive)), archiveText(1000)) {
		t.Errorf("a half archive is in the way: %v", err)
	}
	onlyNames(t, path, filepath.Base(path), filepath.Base(archive))
}

func TestArchiveKeepsAttributes(t *testing.T) {
	path := writeText(t, archiveText(1000))
	when := time.Date(2026, 11, 22, 17, 10, 28, 275e6, time.UTC)
	if err := errors.Join(os.Chmod(path, 0o604), os.Chtimes(path, when, when)); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(path, 12, 34); err != nil {
			t.Fatal(err)
		}
	}
	archive, err := Compress(context.Background(), nil, path, 0o604, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.Stat(archive)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if z, err := gzip.NewReader(f); err != nil || !z.ModTime.Equal(when.Truncate(time.Second)) {
		t.Errorf("gzip -N would give it the time %v, %v", z.ModTime, err)
	}
	w, g := want.Sys().(*syscall.Stat_t), got.Sys().(*syscall.Stat_t)
	if got.Mode() != want.Mode() || !got.ModTime().Equal(want.ModTime()) || g.Uid != w.Uid || g.Gid != w.Gid {
		t.Errorf("mode %v, time %v, owner %d:%d, want %v, %v, %d:%d",
			got.Mode(), got.ModTime(), g.Uid, g.Gid, want.Mode(), want.ModTime(), w.Uid, w.Gid)
	}
}

func TestArchiveCancelled(t *testing.T) {
	path := writeText(t, archiveText(3<<20))
	for after := range 6 {
		ctx, cancel := context.WithCancel(context.Background())
		n, late := 0, 0
		d := &disk.Disk{Fault: func(op disk.Op, _ string) (int, error) {
			if op == disk.OpWrite || op == disk.OpSync {
				if ctx.Err() != nil && op == disk.OpWrite {
					late++
				}
				if n++; n > after {
					cancel()
				}
			}
			return 0, nil
		}}
		if _, err := Compress(ctx, d, path, 0o640, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at write %d: %v", after, err)
		}
		if late > 0 {
			t.Errorf("cancelled at write %d: %d more members were written", after, late)
		}
		cancel()
		onlyNames(t, path, filepath.Base(path))
	}
}

// A file that is still written to must not be taken for packed.
func TestArchiveOfChangingFile(t *testing.T) {
	for what, c := range map[string]struct {
		flag int
		want string
	}{
		"grows":           {os.O_APPEND, "another process writes"},
		"is written over": {0, "differs"},
	} {
		path := writeText(t, archiveText(1000))
		d := &disk.Disk{Fault: func(op disk.Op, name string) (int, error) {
			if op != disk.OpSync || !IsTemp(filepath.Base(name)) {
				return 0, nil
			}
			f, err := os.OpenFile(path, os.O_WRONLY|c.flag, 0)
			if err == nil {
				_, err = f.WriteString("one more\n")
				f.Close()
			}
			return 0, err
		}}
		if _, err := Compress(context.Background(), d, path, 0o640, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("it %s meanwhile: %v", what, err)
		}
		onlyNames(t, path, filepath.Base(path))
	}
}

// TestCompressRests: Compress calls rest after each piece of work, when the archive is
// written and when it is compared, and an end in a pause leaves no archive.
func TestCompressRests(t *testing.T) {
	path := writeText(t, archiveText(2<<20))
	ctx, cancel := context.WithCancel(context.Background())
	rests := 0
	archive, err := Compress(ctx, nil, path, 0o640, func(context.Context, time.Duration) { rests++ })
	if least := 2 + 2*4; err != nil || rests < least {
		t.Errorf("%d pauses for 2 MiB, want %d; %v", rests, least, err)
	}
	if err := os.Remove(archive); err != nil {
		t.Fatal(err)
	}
	_, err = Compress(ctx, nil, path, 0o640, func(context.Context, time.Duration) {
		if rests--; rests == 0 { // the last one
			cancel()
		}
	})
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"+Suffix+"*"))
	if !errors.Is(err, context.Canceled) || len(left) > 0 {
		t.Errorf("ended in a pause: %v, and there is %q", err, left)
	}
}
