package sink

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/waittest"
	"fanin/sink/archive"
)

// heldFile is a stopped log and its first file, which is plain or compressed.
func heldFile(t *testing.T, compress, want string) (s *Sink, path string, text []byte) {
	t.Helper()
	s = open(t, &Sink{Sync: syncNone, Retention: RetentionPolicy{Compress: compress}})
	src := newSource()
	for i := range 6 { // records of 250 KiB: some of them lie in two blocks, and in two members
		var lines []string
		for j := range 2000 {
			lines = append(lines, fmt.Sprintf("batch %d, line %d %s", i, j, strings.Repeat("x", 90+j%10)))
		}
		src.send(t, s, lines...)
	}
	for range 2 {
		_, err := s.Rotate(t.Context())
		must(t, err)
		src.send(t, s, "later")
	}
	waittest.Until(t, "compression", func() bool { return states(s) == want })
	must(t, s.Close(context.Background()))
	path = filepath.Join(filepath.Dir(s.Path), s.Status().Generations[0].Name)
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	in := io.Reader(f)
	if strings.HasSuffix(path, archive.Suffix) {
		if in, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	text, err = io.ReadAll(in)
	must(t, err)
	return s, path, text
}

// TestVerifyKinds: whatever kind of file has the text, it is read to its end and held against the ledger.
func TestVerifyKinds(t *testing.T) {
	plain := func(path string, text []byte) error { return os.WriteFile(path, text, 0o640) }
	members := func(path string, text []byte) error {
		name := strings.TrimSuffix(path, archive.Suffix)
		if err := errors.Join(os.Remove(path), os.WriteFile(name, text, 0o640)); err != nil {
			return err
		}
		_, err := archive.Compress(context.Background(), nil, name, 0o640, nil)
		return errors.Join(err, os.Remove(name))
	}
	stream := func(path string, text []byte) error {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
		z.Write(text)
		z.Close()
		return os.WriteFile(path, b.Bytes(), 0o640)
	}
	for _, kind := range []struct {
		name, compress, states string
		write                  func(path string, text []byte) error
	}{
		{"plain", "none", "plain plain live", plain},
		{"archive", "gzip", "gzip plain live", members},
		{"gzip without a table", "gzip", "gzip plain live", stream},
	} {
		t.Run(kind.name, func(t *testing.T) {
			s, path, text := heldFile(t, kind.compress, kind.states)
			at := bytes.Index(text, []byte("batch 4, line 1000"))
			changed := bytes.Clone(text)
			changed[at] = 'B'
			foreign := append(append(bytes.Clone(text), strings.Repeat("foreign\n", 1000)...), "x\n"...)
			for name, c := range map[string]struct {
				text []byte
				want string // of the problem; "": none
			}{
				"as it was": {text, ""},
				"changed":   {changed, "the 2000 lines from byte "},
				"cut":       {text[:at+5], fmt.Sprintf("ends at byte %d and had %d bytes: another program truncated it; 3000 committed lines are gone", at+5, len(text))},
				"longer":    {foreign, ""}, // it is the checkpoint that says how much counts
			} {
				must(t, kind.write(path, c.text))
				r, err := Verify(context.Background(), s.Path, "")
				if err != nil || len(r.Problems) > 1 || (r.Found == 0) != (c.want == "") || !strings.Contains(strings.Join(r.Problems, ""), c.want) {
					t.Errorf("%s: %v, %q; want %q", name, err, r.Problems, c.want)
				}
				if c.want == "" && r.Lines != 12_002 {
					t.Errorf("%s: %d lines", name, r.Lines)
				}
			}
		})
	}
}

// TestVerifyDamagedArchive: a member that cannot be decompressed is an error, and not taken for text.
func TestVerifyDamagedArchive(t *testing.T) {
	s, path, _ := heldFile(t, "gzip", "gzip plain live")
	b, err := os.ReadFile(path)
	must(t, err)
	b[len(b)/2] ^= 0x40
	must(t, os.WriteFile(path, b, 0o640))
	if r, err := Verify(context.Background(), s.Path, ""); err == nil || !strings.Contains(err.Error(), filepath.Base(path)) || !strings.Contains(err.Error(), "is damaged near byte") {
		t.Errorf("%v, %q", err, r.Problems)
	}
}

// TestFileTextStops: a text that is not read to its end is closed, and what reads ahead ends.
func TestFileTextStops(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	must(t, os.WriteFile(path, make([]byte, 5*plainBlock), 0o640))
	f, err := os.Open(path)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	x := plainText(ctx, f)
	if b, err := x.next(ctx); len(b) != plainBlock || err != nil {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	cancel()
	for range 20 { // those that were read before may come
		if _, err = x.next(ctx); err != nil {
			break
		}
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after its context ended: %v", err)
	}
	must(t, x.Close())
}
