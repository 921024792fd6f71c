package depot

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"fanin/internal/disk"
	"fanin/internal/waittest"
	"fanin/sink"
)

// Each closed file is copied once, with its ledger, whatever the copier and the log forget; then
// retention removes it.
func TestCopies(t *testing.T) {
	for _, compress := range []string{"gzip", "none"} {
		t.Run(compress, func(t *testing.T) {
			t.Parallel()
			dir, p := t.TempDir(), place(t)
			keep := hold
			keep.Compress = compress
			n := open(t, dir, p, keep, nil)
			n.files(3)
			n.archived()
			has(t, p, 0, 900)
			waittest.UntilEqual(t, "the older files to be removed", 2, func() int { return len(n.sink.Status().Generations) })
			sent := n.copier.Status().Bytes
			n.stop()
			if err := os.Remove(filepath.Join(dir, "state", fileName)); err != nil {
				t.Fatal(err)
			}
			again := open(t, dir, p, keep, nil)
			again.archived()
			if st := again.copier.Status(); st.Files != 1 || st.Bytes != 0 || sent == 0 {
				t.Errorf("what was there was copied again: %+v, before %d bytes", st, sent)
			}
			again.next = n.next
			again.files(1)
			again.archived()
			again.stop()
			has(t, p, 0, 1200)
			third := open(t, dir, p, keep, nil)
			third.archived()
			third.stop()
			if st := third.copier.Status(); st.Files != 0 {
				t.Errorf("what was saved is not known: %+v", st)
			}
		})
	}
}

// Another place has nothing yet.
func TestAnotherPlace(t *testing.T) {
	dir, p, q := t.TempDir(), place(t), place(t)
	keep := sink.RetentionPolicy{HoldArchive: 1 << 40}
	n := open(t, dir, p, keep, nil)
	n.files(2)
	n.archived()
	n.stop()
	n = open(t, dir, q, keep, nil)
	n.archived()
	has(t, q, 0, 600)
}

// Two collectors may share a place.
func TestTwoLogs(t *testing.T) {
	p := place(t)
	a, b := open(t, t.TempDir(), p, hold, nil), open(t, t.TempDir(), p, hold, nil)
	a.files(2)
	b.next = 600
	b.files(2)
	a.archived()
	b.archived()
	if got := numbers(t, p); len(got) != 1200 {
		t.Errorf("%d lines are there, want 1200", len(got))
	}
	d, err := Open(p)
	if err != nil {
		t.Fatal(err)
	}
	if reports, err := d.Verify(context.Background()); err != nil || len(reports) != 2 || reports[0].Lines != 600 {
		t.Errorf("%+v, %v", reports, err)
	}
}

// Two histories of a log, after it was put back to an older state, are both there, and verify reports them.
func TestTwoHistories(t *testing.T) {
	p := place(t)
	n := open(t, t.TempDir(), p, hold, nil)
	n.files(1)
	n.archived()
	stem := stemOf(n.sink.Closed()[0].Generation)
	n.stop()
	later := "00000001-20991231T235959.999Z"
	for _, path := range objects(t, p.Dir) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path, manifestSuffix) {
			b = bytes.ReplaceAll(b, []byte(stem), []byte(later))
		}
		if err := os.WriteFile(strings.Replace(path, stem, later, 1), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if found := problems(t, p); len(found) != 1 || !strings.Contains(found[0], "generation 1 is here a second time") {
		t.Errorf("%q", found)
	}
}

// A file whose place another one has is kept; the others are copied.
func TestOtherContent(t *testing.T) {
	for _, suffix := range []string{gzipSuffix, ledgerSuffix, manifestSuffix} {
		t.Run(suffix, func(t *testing.T) {
			t.Parallel()
			dir, p := t.TempDir(), place(t)
			n := open(t, dir, Place{Dir: filepath.Join(p.Dir, "missing")}, hold, nil)
			n.files(1)
			n.says("mount the file system")
			waittest.Until(t, "compression", func() bool { return n.sink.Closed()[0].Final })
			taken := filepath.Join(p.Dir, n.sink.LogID().String(), stemOf(n.sink.Closed()[0].Generation)+suffix)
			n.stop()
			if err := os.Mkdir(filepath.Dir(taken), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(taken, []byte("precious"), 0o644); err != nil {
				t.Fatal(err)
			}
			again := open(t, dir, p, hold, nil)
			again.next = n.next
			again.files(2)
			waittest.UntilEqual(t, "the others to be copied", 1, func() int { return again.copier.Status().Waiting })
			again.says("cannot be archived; it is kept")
			if st := again.copier.Status(); st.Refused != 1 || !strings.Contains(st.Trouble, "move it away") {
				t.Errorf("%+v", st)
			}
			if b, err := os.ReadFile(taken); err != nil || string(b) != "precious" {
				t.Errorf("it is %q now, %v", b, err)
			}
			if first := again.sink.Closed()[0]; first.Number != 1 {
				t.Errorf("the first file that is kept is %+v", first)
			}
		})
	}
}

// What retention removes before it is copied is counted, and reported in the log.
func TestExpired(t *testing.T) {
	p := place(t)
	var block atomic.Bool
	reached := make(chan struct{}, 100)
	block.Store(true)
	n := open(t, t.TempDir(), p, sink.RetentionPolicy{Files: 2}, func(n *node) {
		n.copier.store = &slow{n.copier.store, func(ctx context.Context) {
			reached <- struct{}{}
			if block.Load() {
				<-ctx.Done()
			}
		}}
	})
	n.files(1)
	<-reached // the first file is being copied
	n.files(2)
	n.says("UNARCHIVED lines=300 generation=1 ")
	block.Store(false)
	n.archived()
	if st := n.copier.Status(); st.Expired != 300 {
		t.Errorf("%d lines are counted, want 300", st.Expired)
	}
	n.stop()
	has(t, p, 300, 900)
}

// slow is a store that calls wait before it writes.
type slow struct {
	store
	wait func(context.Context)
}

func (s *slow) put(ctx context.Context, name string, c content) error {
	s.wait(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.store.put(ctx, name, c)
}

// A file that another process removed is counted; the others are copied.
func TestLost(t *testing.T) {
	dir, p := t.TempDir(), place(t)
	n := open(t, dir, Place{Dir: filepath.Join(p.Dir, "missing")}, hold, nil)
	n.files(1)
	waittest.Until(t, "compression", func() bool { return n.sink.Closed()[0].Final })
	name := n.sink.Closed()[0].Name
	n.stop()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, p, hold, nil)
	again.next = n.next
	again.files(1)
	again.says("UNARCHIVED lines=")
	again.archived()
	if st := again.copier.Status(); st.Files != 1 || st.Expired != 300 {
		t.Errorf("%+v", st)
	}
}

// A file that another process unpacked is not missing, though it has another name until the log notices.
func TestUnpackedByOthers(t *testing.T) {
	dir, p := t.TempDir(), place(t)
	n := open(t, dir, Place{Dir: filepath.Join(p.Dir, "missing")}, hold, nil)
	n.files(1)
	waittest.Until(t, "compression", func() bool { return n.sink.Closed()[0].Final })
	g := n.sink.Closed()[0].Generation
	packed := filepath.Join(dir, g.Name)
	if out, err := exec.Command("gunzip", packed).CombinedOutput(); err != nil {
		t.Fatalf("gunzip: %v: %s", err, out)
	}
	if n.copier.missing(context.Background(), g) {
		t.Error("it counts as missing")
	}
	if err := os.Remove(strings.TrimSuffix(packed, ".gz")); err != nil {
		t.Fatal(err)
	}
	if !n.copier.missing(context.Background(), g) {
		t.Error("it does not count as missing")
	}
}

// A directory that is full, or missing, delays the copies only, and what is half written is removed.
func TestFullDirectory(t *testing.T) {
	for what, errno := range map[string]syscall.Errno{"full": syscall.ENOSPC, "limit": syscall.EFBIG, "sync": syscall.EIO} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p := place(t)
			var full atomic.Bool
			full.Store(true)
			n := open(t, t.TempDir(), p, hold, func(n *node) {
				n.copier.store.(*directory).disk = &disk.Disk{Fault: func(op disk.Op, _ string) (int, error) {
					if full.Load() && (op == disk.OpWrite && errno != syscall.EIO || op == disk.OpSync) {
						return 100, errno
					}
					return 0, nil
				}}
			})
			n.files(2)
			n.says("files of the log cannot be archived now")
			waittest.Until(t, "no half file", func() bool { return len(objects(t, p.Dir)) == 0 })
			if st := n.copier.Status(); st.Trouble == "" || st.Waiting != 2 {
				t.Errorf("%+v", st)
			}
			full.Store(false)
			n.archived()
			n.says("the archive takes files again")
			n.stop()
			has(t, p, 0, 600)
			if count := strings.Count(n.log.String(), "cannot be archived now"); count != 1 {
				t.Errorf("it was reported %d times", count)
			}
		})
	}
}

// What is in a depot is held against its ledgers: damage of any object is found.
func TestVerifyFindsDamage(t *testing.T) {
	p := place(t)
	n := open(t, t.TempDir(), p, hold, nil)
	n.files(3)
	n.archived()
	n.stop()
	for _, path := range objects(t, p.Dir) {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		flipped := append([]byte(nil), whole...)
		flipped[len(whole)/2] ^= 1
		for what, b := range map[string][]byte{"flipped": flipped, "cut": whole[:len(whole)/2], "empty": {}, "longer": append(whole, 'x')} {
			if what == "flipped" && strings.HasSuffix(path, manifestSuffix) {
				continue // it may be the host that is another one
			}
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
			if found := problems(t, p); len(found) == 0 {
				t.Errorf("%s %s: nothing is found", what, filepath.Base(path))
			}
		}
		os.Remove(path)
		// Without its manifest a file does not count, and is missing if it is between two others.
		want := !strings.HasSuffix(path, manifestSuffix) || strings.Contains(path, "00000002-")
		if found := problems(t, p); want != (len(found) > 0) {
			t.Errorf("without %s: %q", filepath.Base(path), found)
		}
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	has(t, p, 0, 900)
}

func problems(t *testing.T, p Place) (found []string) {
	t.Helper()
	d, err := Open(p)
	if err != nil {
		t.Fatal(err)
	}
	reports, err := d.Verify(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		found = append(found, r.Problems...)
	}
	return found
}

// A file that is not what was committed is archived as it is, and verify shows it there too.
func TestDamagedFile(t *testing.T) {
	dir, p := t.TempDir(), place(t)
	keep := hold
	keep.Compress = "none"
	n := open(t, dir, Place{Dir: filepath.Join(p.Dir, "missing")}, keep, nil)
	n.files(1)
	path := filepath.Join(dir, n.sink.Closed()[0].Name)
	n.stop()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("X"), 1000)
	f.Close()
	again := open(t, dir, p, keep, nil)
	again.archived()
	again.says("is not what was committed; it is archived as it is")
	if found := problems(t, p); len(found) != 1 || !strings.Contains(found[0], "not what was committed") {
		t.Errorf("%q", found)
	}
}

// Text that was changed on its way is not given as the text of a file.
func TestTextIsChecked(t *testing.T) {
	p := place(t)
	n := open(t, t.TempDir(), p, hold, nil)
	n.files(1)
	n.archived()
	d, err := Open(p)
	if err != nil {
		t.Fatal(err)
	}
	files, err := d.Files(context.Background())
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	files[0].File.SHA256 = strings.Repeat("0", 64)
	r, err := d.Text(context.Background(), files[0])
	if err != nil {
		t.Fatal(err)
	}
	io.ReadAll(r)
	if err := r.Close(); err == nil || !strings.Contains(err.Error(), "another content") {
		t.Errorf("%v", err)
	}
}
