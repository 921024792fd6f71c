package disk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// fileSystems are the temporary directory's, and a tmpfs where there is one.
func fileSystems(t *testing.T) map[string]string {
	t.Helper()
	dirs := map[string]string{"temporary directory": t.TempDir()}
	if dir, err := os.MkdirTemp("/dev/shm", "fanin"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		dirs["tmpfs"] = dir
	}
	return dirs
}

func stat(t *testing.T, f *File) *syscall.Stat_t {
	t.Helper()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t)
}

func TestReserve(t *testing.T) {
	for name, dir := range fileSystems(t) {
		t.Run(name, func(t *testing.T) {
			f := create(t, nil, filepath.Join(dir, "file"))
			if _, err := f.Write([]byte("a line\n")); err != nil {
				t.Fatal(err)
			}
			const room = 1 << 20
			if err := f.Reserve(7, room); err != nil {
				t.Fatal(err)
			}
			st := stat(t, f)
			if st.Size != 7 || content(t, f.Name()) != "a line\n" {
				t.Errorf("the file now holds %d bytes: readers would see them", st.Size)
			}
			err := reserve(f.File, 7, room)
			switch {
			case errors.Is(err, errors.ErrUnsupported):
				t.Log("this file system cannot reserve")
			case err != nil || st.Blocks*512 < room:
				t.Errorf("%d bytes of room, want %d; %v", st.Blocks*512, room, err)
			}
			if err := f.Reserve(room, room-1); err != nil {
				t.Errorf("nothing to reserve: %v", err)
			}
		})
	}
}

// No room must be said before it is needed, and must be known as that. tmpfs
// refuses more than it has at once; others would fill up first, for everybody.
func TestReserveWithoutRoom(t *testing.T) {
	dir, ok := fileSystems(t)["tmpfs"]
	if !ok {
		t.Skip("no tmpfs at /dev/shm")
	}
	var total unix.Statfs_t
	if err := unix.Statfs(dir, &total); err != nil {
		t.Fatal(err)
	}
	if total.Blocks == 0 {
		t.Skip("a tmpfs without bounds")
	}
	f := create(t, nil, filepath.Join(dir, "file"))
	if err := f.Reserve(0, (int64(total.Blocks)+1)*total.Bsize); !IsFull(err) {
		t.Errorf("%v, want that there is no room", err)
	}
	if st := stat(t, f); st.Size != 0 || st.Blocks != 0 {
		t.Errorf("the file now holds %d bytes in %d blocks", st.Size, st.Blocks)
	}
}

func TestZeroTakesRoom(t *testing.T) {
	for name, dir := range fileSystems(t) {
		f := create(t, nil, filepath.Join(dir, "wal"))
		if err := f.Zero(1 << 20); err != nil {
			t.Fatal(err)
		}
		if st := stat(t, f); st.Size != 1<<20 || st.Blocks*512 < 1<<20 {
			t.Errorf("%s: %d bytes, %d of them on the disk", name, st.Size, st.Blocks*512)
		}
	}
}

func TestIdentity(t *testing.T) {
	for name, dir := range fileSystems(t) {
		path := filepath.Join(dir, "file")
		f := create(t, nil, path)
		again := create(t, nil, path)
		other := create(t, nil, path+"2")
		fi, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		fi2, err := other.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if Inode(fi) == Inode(fi2) || Device(fi) != Device(fi2) || Links(fi) != 1 {
			t.Errorf("%s: inodes %d and %d, devices %d and %d, %d links", name, Inode(fi), Inode(fi2), Device(fi), Device(fi2), Links(fi))
		}
		if h := Handle(f.File); !bytes.Equal(h, Handle(again.File)) {
			t.Errorf("%s: two descriptors of one file: handles %x and %x", name, h, Handle(again.File))
		} else if len(h) > 0 && bytes.Equal(h, Handle(other.File)) {
			t.Errorf("%s: two files have the handle %x", name, h)
		}
		os.Remove(path)
		if fi, err := f.Stat(); err != nil || Links(fi) != 0 {
			t.Errorf("%s: a deleted file has %d links", name, Links(fi))
		}
	}
}

func TestOwnAs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may give files away")
	}
	dir := t.TempDir()
	like, f := create(t, nil, filepath.Join(dir, "like")), create(t, nil, filepath.Join(dir, "file"))
	if err := like.Chown(12, 34); err != nil {
		t.Fatal(err)
	}
	fi, err := like.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.OwnAs(fi); err != nil {
		t.Fatal(err)
	}
	if st := stat(t, f); st.Uid != 12 || st.Gid != 34 {
		t.Errorf("owner %d:%d", st.Uid, st.Gid)
	}
}

// TestWriteTriedKeepsOwner: a service can still read its configuration after root has changed it.
func TestWriteTriedKeepsOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may give files away")
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 12, 34); err != nil {
		t.Fatal(err)
	}
	if err := new(Disk).WriteTried(path, []byte("new"), 0o640, true, func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	f, err := new(Disk).Open(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if st := stat(t, f); st.Uid != 12 || st.Gid != 34 || st.Mode&0o777 != 0o640 {
		t.Errorf("owner %d:%d, mode %o", st.Uid, st.Gid, st.Mode)
	}
}

func TestCloseOnExec(t *testing.T) {
	f := create(t, nil, filepath.Join(t.TempDir(), "file"))
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %x, %v: a child would inherit the lock", flags, err)
	}
}
