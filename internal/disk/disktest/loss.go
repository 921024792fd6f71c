package disktest

import (
	"cmp"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Losses is how many seeds of Cut have a meaning of their own, from 0 on:
//
//	0 nothing survives that was not synced
//	1 all of it does
//	2 names do; what was written does not, so that new files are empty
//	3 what was written does; names do not
//	4 names and sizes do; files hold zeros where they had grown
//
// Any other seed leaves something random: each page in one of the states that it
// had, or, from some seeds, each 64 bytes of it; each name there or not.
const Losses = 5

// loss decides what survives.
type loss struct {
	rnd                *rand.Rand
	names, sizes, data float64 // how likely the newest of it survives
	any                bool    // of what does not, an older state since the sync may
	grain              int     // bytes that are written in one piece
}

func newLoss(seed uint64) *loss {
	l := &loss{rnd: rand.New(rand.NewPCG(seed, 0)), grain: pageSize}
	switch seed {
	case 0:
	case 1:
		l.names, l.sizes, l.data = 1, 1, 1
	case 2:
		l.names = 1
	case 3:
		l.sizes, l.data = 1, 1
	case 4:
		l.names, l.sizes = 1, 1
	default:
		likely := func() float64 { return []float64{0.1, 0.5, 0.9}[l.rnd.IntN(3)] }
		l.names, l.sizes, l.data, l.any = likely(), likely(), likely(), true
		if l.rnd.IntN(4) == 0 {
			l.grain = lineSize
		}
	}
	return l
}

// survives decides about one thing that does or does not.
func (l *loss) survives(likely float64) bool { return l.rnd.Float64() < likely }

// state chooses one of n states, of which 0 was synced and the last is the newest.
func (l *loss) state(n int, likely float64) int {
	switch {
	case l.survives(likely):
		return n - 1
	case l.any:
		return l.rnd.IntN(n)
	}
	return 0
}

// lose puts into the files what survives.
func (d *Disk) lose(l *loss) {
	left := make(map[uint64]bool)
	for _, dir := range sorted(d.dirs) { // a directory comes before those below it
		names := d.dirs[dir]
		if names == nil {
			continue // lost with the one above it
		}
		names.lose(l)
		d.restore(dir, names.now)
		for _, e := range names.now {
			left[e.inode] = true
		}
	}
	for _, inode := range sorted(d.files) {
		if left[inode] {
			d.files[inode].lose(l)
			d.rewrite(inode)
			continue
		}
		delete(d.files, inode)
		os.Remove(d.kept(inode))
	}
}

// restore gives a directory these names and no others.
func (d *Disk) restore(dir string, names map[string]entry) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		d.t.Fatalf("a disk that forgets: %v", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.Type().IsRegular():
			os.Remove(path)
		case e.IsDir() && !names[e.Name()].dir:
			os.RemoveAll(path)
			for other := range d.dirs {
				if other == path || strings.HasPrefix(other, path+string(filepath.Separator)) {
					delete(d.dirs, other)
				}
			}
		}
	}
	for name, e := range names {
		path := filepath.Join(dir, name)
		if e.dir {
			if _, err := os.Stat(path); err != nil {
				d.t.Fatalf("a disk that forgets: a directory was removed or renamed: %v", err)
			}
		} else if err := os.Link(d.kept(e.inode), path); err != nil {
			d.t.Fatalf("a disk that forgets: %v", err)
		}
	}
}

// rewrite gives a file the content that it shall have.
func (d *Disk) rewrite(inode uint64) {
	f, err := os.OpenFile(d.kept(inode), os.O_WRONLY|os.O_TRUNC, 0)
	if err == nil {
		_, err = f.Write(d.files[inode].now)
		f.Close()
	}
	if err != nil {
		d.t.Fatalf("a disk that forgets: %v", err)
	}
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
