package disk

import (
	"os"
	"testing"
)

func TestFileSystem(t *testing.T) {
	for path, want := range map[string]string{"/proc/self/status": "proc", "/proc": "proc", "/sys/kernel": "sysfs", "/": "", t.TempDir(): ""} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		id, made := FileSystem(f)
		if made != want {
			t.Errorf("%s: made up by %q, want %q", path, made, want)
		}
		if again, _ := FileSystem(f); again != id {
			t.Errorf("%s: the ids %x and %x", path, id, again)
		}
	}
	ids := make(map[uint64]bool)
	for _, dir := range fileSystems(t) {
		f := create(t, nil, dir+"/file")
		id, _ := FileSystem(f.File)
		ids[id] = true
	}
	if len(ids) != len(fileSystems(t)) {
		t.Errorf("two file systems have one id: %v", ids)
	}
}
