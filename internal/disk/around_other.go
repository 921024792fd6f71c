//go:build !linux

package disk

// around is nothing here: WriteAround is WriteAt.
type around struct{}

// PageSize is what WriteAround needs places in memory and in the file to agree in.
const PageSize = 4 << 10

func (f *File) writeAround(p []byte, off int64) (int, error) { return f.File.WriteAt(p, off) }
