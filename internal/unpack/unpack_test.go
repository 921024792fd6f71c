package unpack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// text is lines that compress like a log.
func text(lines int) []byte {
	var b bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&b, "2026-11-22T10:%02d:%02d.%03dZ request %d took %d ms\n", i/60%60, i%60, i*7%1000, i, i*i%977)
	}
	return b.Bytes()
}

// pack compresses with a program, as users do.
func pack(t testing.TB, in []byte, program string, args ...string) []byte {
	t.Helper()
	c := exec.Command(program, args...)
	c.Stdin = bytes.NewReader(in)
	out, err := c.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skipf("%s is not installed", program)
	}
	if err != nil {
		t.Fatal(program, args, err)
	}
	return out
}

// read reads all of a file.
func read(t testing.TB, file []byte) ([]byte, error) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file), Detect(file))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestPrograms: what gzip and zstd make is read, also several files in one, and padding.
func TestPrograms(t *testing.T) {
	want := text(20000)
	half := len(want) / 2
	for name, file := range map[string][]byte{
		"gzip -1": pack(t, want, "gzip", "-1"), "gzip -9": pack(t, want, "gzip", "-9"), "gzip, no text": pack(t, nil, "gzip"),
		"zstd -1": pack(t, want, "zstd", "-1"), "zstd -19": pack(t, want, "zstd", "-19"), "zstd --long": pack(t, want, "zstd", "--long"),
		"zstd --ultra": pack(t, want, "zstd", "--ultra", "-22"), "zstd, no text": pack(t, nil, "zstd"), "zstd --no-check": pack(t, want, "zstd", "--no-check"),
		"two gzip":    append(pack(t, want[:half], "gzip"), pack(t, want[half:], "gzip")...),
		"two zstd":    append(pack(t, want[:half], "zstd"), pack(t, want[half:], "zstd")...),
		"padded gzip": append(pack(t, want, "gzip"), make([]byte, 5000)...),
		"pzstd":       append([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"), pack(t, want, "zstd")...),
	} {
		got, err := read(t, file)
		if strings.HasSuffix(name, "no text") {
			if len(got) > 0 || err != nil {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		} else if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d of %d bytes, %v", name, len(got), len(want), err)
		}
	}
}

// TestDamaged: a file that is cut or changed at any place yields a part of its text from the
// start on, and a Damage; never other text without one.
func TestDamaged(t *testing.T) {
	want := text(120)
	for _, program := range []string{"gzip", "zstd"} {
		file := pack(t, want, program)
		longest := 0
		for at := HeadSize; at < len(file); at++ {
			got, err := read(t, file[:at])
			var damage *Damage
			if !errors.As(err, &damage) || damage.Whole || !bytes.HasPrefix(want, got) || !strings.Contains(err.Error(), "cut off") {
				t.Fatalf("%s, cut at %d of %d: %d bytes, %v", program, at, len(file), len(got), err)
			}
			longest = max(longest, len(got))
			flipped := bytes.Clone(file)
			flipped[at] ^= 0x41
			if got, err := read(t, flipped); err == nil && !bytes.Equal(got, want) {
				t.Fatalf("%s, changed at %d of %d: other text, and no error", program, at, len(file))
			} else if err != nil && !errors.As(err, &damage) {
				t.Fatalf("%s, changed at %d of %d: %v", program, at, len(file), err)
			}
		}
		if longest != len(want) {
			t.Errorf("%s without its checksum yields %d of %d bytes", program, longest, len(want))
		}
	}
}

// TestTrailing: what follows a complete gzip file is reported, and its text is complete.
func TestTrailing(t *testing.T) {
	want := text(10)
	got, err := read(t, append(pack(t, want, "gzip"), "more"...))
	var damage *Damage
	if !bytes.Equal(got, want) || !errors.As(err, &damage) || !damage.Whole {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestFileError: an error of the disk is no damage.
func TestFileError(t *testing.T) {
	for _, program := range []string{"gzip", "zstd"} {
		file := pack(t, text(1000), program)
		broken := io.MultiReader(bytes.NewReader(file[:len(file)/2]), iotest.ErrReader(os.ErrPermission))
		r, err := NewReader(broken, Detect(file))
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(r)
		if damage := new(Damage); errors.As(err, &damage) || !errors.Is(err, os.ErrPermission) {
			t.Errorf("%s: %v", program, err)
		}
		r.Close()
	}
}

// TestBombs: 1 GiB of text from a small file, and a file that needs much memory, use little.
func TestBombs(t *testing.T) {
	if testing.Short() {
		t.Skip("it unpacks a gigabyte")
	}
	zeros := make([]byte, 1<<20)
	one := pack(t, zeros, "gzip", "-9")
	for name, file := range map[string][]byte{"gzip": bytes.Repeat(one, 1024), "zstd": bytes.Repeat(pack(t, zeros, "zstd", "-19"), 1024)} {
		r, err := NewReader(bytes.NewReader(file), Detect(file))
		if err != nil {
			t.Fatal(err)
		}
		before, after := new(runtime.MemStats), new(runtime.MemStats)
		runtime.ReadMemStats(before)
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, 64<<10))
		runtime.ReadMemStats(after)
		r.Close()
		if n != 1<<30 || err != nil {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		if used := int64(after.HeapSys) - int64(before.HeapSys); used > 32<<20 {
			t.Errorf("%s: the heap grew by %d bytes", name, used)
		}
	}
}

// TestWindow: a frame that needs more memory than MaxWindow is refused, with the remedy.
func TestWindow(t *testing.T) {
	// A frame header without content size whose window is 2^(10+20) bytes, and a raw block.
	file := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 20 << 3, 0x09, 0x00, 0x00, 'x'}
	_, err := read(t, file)
	if err == nil || !strings.Contains(err.Error(), "zstd -d --long=31") {
		t.Errorf("%v", err)
	}
}

func FuzzReader(f *testing.F) {
	for _, program := range []string{"gzip", "zstd"} {
		if path, err := exec.LookPath(program); err == nil {
			f.Add(pack(f, text(20), path))
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		format := Detect(file)
		if format == None {
			return
		}
		r, err := NewReader(bytes.NewReader(file), format)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		_, err = io.CopyN(io.Discard, r, 1<<20)
		if damage := new(Damage); err != nil && err != io.EOF && !errors.As(err, &damage) {
			t.Fatalf("%T %v", err, err)
		}
	})
}
