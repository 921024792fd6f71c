package disk

import (
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkInPlace is what each commit pays to know that its write-ahead log has not
// been deleted.
func BenchmarkInPlace(b *testing.B) {
	f, err := new(Disk).Open(filepath.Join(b.TempDir(), "wal"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.ReportAllocs()
	for b.Loop() {
		if !f.InPlace() {
			b.Fatal("it has strayed")
		}
	}
}
