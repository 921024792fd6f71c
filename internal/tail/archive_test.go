package tail

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"fanin/internal/wire"
)

// packedAs compresses text.
func packedAs(t testing.TB, format, text string) string {
	t.Helper()
	var b bytes.Buffer
	if format == "zst" {
		w, err := zstd.NewWriter(&b, zstd.WithEncoderCRC(true))
		_, werr := w.Write([]byte(text))
		if err = cmp.Or(err, werr, w.Close()); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	if err = cmp.Or(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// archiveRig follows the files of its directory as send does.
func archiveRig(t testing.TB) *rig {
	r := newRig(t)
	r.change = func(x *Tailer) {
		files, err := filepath.Glob(r.path("*"))
		if err != nil {
			t.Fatal(err)
		}
		x.Tables = []Table{{Files: files, Whole: true, Archives: true}}
	}
	return r
}

// put writes a file whole.
func (r *rig) put(name, content string) *rig {
	r.Helper()
	if err := os.WriteFile(r.path(name), []byte(content), 0o640); err != nil {
		r.Fatal(err)
	}
	return r
}

// sent runs a tailer until everything in the directory is acknowledged.
func (r *rig) sent() *rig {
	r.Helper()
	r.run()
	r.await(func() bool {
		list := r.tailer.Status()
		files, _ := filepath.Glob(r.path("*"))
		done := len(list) == len(files)
		for _, f := range list {
			done = done && f.Agreed && f.Acked == f.Size
		}
		return done
	})
	return r
}

// TestArchives: what archives contain is sent once, whatever they are called, however they are
// packed, and also when one is the other one's twin; without any state on this side.
func TestArchives(t *testing.T) {
	r := archiveRig(t)
	r.put("a.log.1.gz", packedAs(t, "gz", "one\ntwo")).put("b.zst", packedAs(t, "zst", "three\n")).put("plain.log", "four\n")
	r.put("empty.gz", packedAs(t, "gz", ""))
	r.sent().halt()
	want := "four one three two"
	r.expectSet(want)
	for _, change := range []func(){
		func() {},
		func() { r.state = t.TempDir(); r.put("plain.log", "four\n") },
		func() { r.rename("a.log.1.gz", "a.log.2.gz") },
		func() { r.put("a.log.2.gz", packedAs(t, "zst", "one\ntwo")) },
		func() { r.put("copy.gz", packedAs(t, "gz", "three\n")) },
	} {
		change()
		r.sent().halt()
		r.expectSet(want)
	}
	r.put("b.zst", packedAs(t, "zst", "three\nfive\n")).sent().halt()
	r.expectSet(want + " five three") // another text: all of it
}

// TestTwins: of archives with the same text, one is sent, and the status says so.
func TestTwins(t *testing.T) {
	r := archiveRig(t)
	text := longLines(1, 9)
	for i := range 5 {
		r.put(fmt.Sprintf("%d.gz", i), packedAs(t, []string{"gz", "zst"}[i%2], text))
	}
	r.sent()
	twins := 0
	for _, f := range r.tailer.Status() {
		if f.Twin != "" {
			twins++
		}
	}
	if twins != 4 {
		t.Errorf("%d twins: %+v", twins, r.tailer.Status())
	}
	r.halt()
	r.expect(strings.Join(strings.Fields(text), " "))
}

// TestDamagedArchive: of a damaged archive, all whole lines before the damage are sent, and
// the reason is in the status. When it is whole again, the rest of it is sent.
func TestDamagedArchive(t *testing.T) {
	var text strings.Builder
	for i := range 30000 { // lines that hardly compress: several blocks
		fmt.Fprintf(&text, "%d-%x-%x\n", i, rand.Uint64(), rand.Uint64())
	}
	whole := strings.Fields(text.String())
	for _, format := range []string{"gz", "zst"} {
		for _, part := range []int{2, 30, 70, 99} {
			t.Run(fmt.Sprintf("%s %d%%", format, part), func(t *testing.T) {
				r := archiveRig(t)
				file := packedAs(t, format, text.String())
				r.put("a."+format, file[:len(file)*part/100]).sent()
				if st := r.tailer.Status()[0]; !strings.Contains(st.Damage, "cut off") {
					t.Errorf("the status is %+v", st)
				}
				r.halt()
				got := strings.Fields(r.collector.lines())
				if len(got) > len(whole) || strings.Join(got, " ") != strings.Join(whole[:len(got)], " ") || len(got) < len(whole)*(part-25)/100 {
					t.Fatalf("%d of %d lines", len(got), len(whole))
				}
				r.sent().halt() // once more: nothing
				if again := strings.Fields(r.collector.lines()); len(again) != len(got) {
					t.Fatalf("%d lines became %d", len(got), len(again))
				}
				r.put("a."+format, file).sent().halt()
				r.expect(strings.Join(whole, " "))
				r.sent().halt()
				r.expect(strings.Join(whole, " "))
			})
		}
	}
}

// TestArchiveKilled: the agent is killed at each of its calls to the collector, and its state
// is gone; the next one sends the rest.
func TestArchiveKilled(t *testing.T) {
	var text strings.Builder
	for i := range 12000 {
		fmt.Fprintf(&text, "%d-%x-%x\n", i, rand.Uint64(), rand.Uint64())
	}
	want := strings.Join(strings.Fields(text.String()), " ")
	for _, stored := range []bool{true, false} {
		for at := 1; ; at++ {
			k := &killed{rig: archiveRig(t), at: at, stored: stored}
			change := k.change
			k.change = func(x *Tailer) { change(x); x.BatchBytes, x.MaxLine = 64<<10, 1<<10 }
			k.arm()
			k.put("a.gz", packedAs(t, "gz", text.String())).run()
			k.await(func() bool {
				k.collector.mu.Lock()
				defer k.collector.mu.Unlock()
				list := k.tailer.Status()
				return k.dead || len(list) == 1 && list[0].Agreed && list[0].Acked == list[0].Size
			})
			k.halt()
			if !k.dead {
				k.expect(want)
				break
			}
			k.state, k.collector.fail, k.collector.failing = t.TempDir(), nil, nil
			k.sent().halt()
			k.expect(want)
		}
	}
}

// TestArchiveReadAt: an archive is read at any place, forth and back, as its text would be.
func TestArchiveReadAt(t *testing.T) {
	text := make([]byte, 3<<20)
	random := rand.NewChaCha8([32]byte{7})
	random.Read(text[:len(text)/2])
	path := filepath.Join(t.TempDir(), "a.gz")
	if err := os.WriteFile(path, []byte(packedAs(t, "gz", string(text))), 0o640); err != nil {
		t.Fatal(err)
	}
	x := &Tailer{}
	x.defaults()
	f, err := x.descriptors.openFile(path)
	if err = cmp.Or(err, f.unpack()); err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if err := f.f.archive.scan(t.Context(), f.decoded(true)); err != nil || f.size() != int64(len(text)) {
		t.Fatalf("%d bytes, %v", f.size(), err)
	}
	if work := f.f.archive.work.Load(); work != int64(len(text)) {
		t.Errorf("%d bytes were unpacked, of %d", work, len(text))
	}
	pick := rand.New(random)
	at := 0
	for range 2000 {
		if at += pick.IntN(70000) - 10000; at < 0 || at > len(text) {
			at = pick.IntN(len(text))
		}
		got := make([]byte, pick.IntN(1<<17))
		want := text[at:min(len(text), at+len(got))]
		n, err := f.f.ReadAt(got, int64(at))
		if !bytes.Equal(got[:n], want) || (err != nil) != (n < len(got)) {
			t.Fatalf("%d bytes at %d: got %d, %v", len(got), at, n, err)
		}
	}
	if err := os.WriteFile(path, []byte(packedAs(t, "gz", "another text")), 0o640); err != nil {
		t.Fatal(err)
	}
	f.f.archive.release()
	if _, err := f.f.ReadAt(make([]byte, 10), 2<<20); !errors.Is(err, errRepacked) {
		t.Errorf("of an archive that was changed: %v", err)
	}
}

// TestArchiveHole: NULs in an archive are a hole, as they are in a file.
func TestArchiveHole(t *testing.T) {
	r := archiveRig(t)
	r.put("a.gz", packedAs(t, "gz", "one\n"+strings.Repeat("\x00", 5<<20)+"two\n"+strings.Repeat("\x00", 1<<20)))
	r.sent().halt()
	r.expect("one two")
	if len(r.collector.skips) != 2 {
		t.Errorf("skipped %q", r.collector.skips)
	}
}

func FuzzArchiveIdentity(f *testing.F) {
	id := archiveIdentity{damaged: true, head: head{bits: 3, sum: 99}, path: "/var/log/a.log.1.gz"}
	f.Add(id.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := parseArchiveIdentity(b)
		if err != nil || len(b) > wire.MaxIdentity {
			return
		}
		if again, err := parseArchiveIdentity(id.append(nil)); err != nil || again != id {
			t.Fatalf("%+v became %+v, %v", id, again, err)
		}
	})
}

// TestArchiveIdentity: the bytes of an archive's identity do not change.
func TestArchiveIdentity(t *testing.T) {
	id := archiveIdentity{damaged: true, head: head{bits: 11, sum: 0x0102030405060708}, path: "/a.gz"}
	if got, want := id.append(nil), "\x05\x01\x0b\x08\x07\x06\x05\x04\x03\x02\x01/a.gz"; string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
	id.path = strings.Repeat("x", 2*wire.MaxIdentity)
	if n := len(id.append(nil)); n != wire.MaxIdentity {
		t.Errorf("%d bytes", n)
	}
}
