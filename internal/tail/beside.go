package tail

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// mostBeside is how many files of a directory are compared with one that is missing or was
// truncated. In a larger directory these are the newest, and those that are known by their inodes:
// what memory a search takes must not depend on what else is in a directory.
const mostBeside = 20_000

// eachEntry calls each for the entries of a directory, a number of them at a time, until it returns
// false.
func eachEntry(d *os.File, each func(fs.DirEntry) (more bool)) error {
	for {
		list, err := d.ReadDir(entriesAtOnce)
		for _, e := range list {
			if !each(e) {
				return nil
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// eachIn is eachEntry for the directory at a path.
func eachIn(dir string, each func(fs.DirEntry) (more bool)) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return eachEntry(d, each)
}

// nameIn returns the path of an entry of a directory that is wanted, "" if there is none.
func nameIn(dir string, wanted func(fs.DirEntry) bool) (path string) {
	eachIn(dir, func(e fs.DirEntry) bool { // on an error there is none
		if wanted(e) {
			path = filepath.Join(dir, e.Name())
		}
		return path == ""
	})
	return path
}

// newest collects the files that were written to last.
type newest[T any] struct {
	list []T
	info func(T) fs.FileInfo
	cut  bool // there were more than mostBeside
}

// add adds a file.
func (n *newest[T]) add(x T) {
	if n.list = append(n.list, x); len(n.list) >= 2*mostBeside {
		n.trim()
	}
}

// trim drops what is too much.
func (n *newest[T]) trim() {
	if len(n.list) <= mostBeside {
		return
	}
	n.cut = true
	slices.SortFunc(n.list, func(a, b T) int { return n.info(b).ModTime().Compare(n.info(a).ModTime()) })
	clear(n.list[mostBeside:])
	n.list = n.list[:mostBeside]
}
