package tail

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// sight is what one look at the patterns found.
type sight struct {
	dirs  map[string]bool // directories in which a change may add or remove a match
	whole bool            // there are no other such directories
	took  time.Duration
}

// glob lists what matches pattern, in order, as filepath.Glob does, and notes the directories
// that decide it. A part of the pattern without wildcards is looked up by its name, so a
// directory is read only where it must be.
func (s *sight) glob(pattern string) (paths []string, err error) {
	if _, err := filepath.Match(pattern, ""); err != nil {
		return nil, err
	}
	dir, rest := filepath.VolumeName(pattern), pattern[len(filepath.VolumeName(pattern)):]
	parts := strings.Split(rest, string(filepath.Separator))
	if strings.HasPrefix(rest, string(filepath.Separator)) {
		dir, parts = dir+string(filepath.Separator), parts[1:]
	}
	parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
	fixed := 0
	for fixed < len(parts)-1 && !hasMeta(parts[fixed]) {
		dir = filepath.Join(dir, parts[fixed])
		fixed++
	}
	s.within(dir, parts[fixed:], &paths)
	return paths, nil
}

// within continues in a directory with the rest of the pattern's parts.
func (s *sight) within(dir string, parts []string, paths *[]string) {
	if len(parts) == 0 {
		return
	}
	if dir == "" {
		dir = "."
	}
	s.dirs[dir] = true
	if !hasMeta(parts[0]) {
		path := filepath.Join(dir, parts[0])
		if _, err := os.Lstat(path); err != nil {
			return // when it is created, its directory changes
		}
		if len(parts) == 1 {
			*paths = append(*paths, path)
			return
		}
		s.within(path, parts[1:], paths)
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.whole = false
	}
	for _, e := range entries {
		if ok, _ := filepath.Match(parts[0], e.Name()); !ok {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if len(parts) == 1 {
			*paths = append(*paths, path)
		} else if isDir(path, e) {
			s.within(path, parts[1:], paths)
		}
	}
}

// isDir reports whether an entry is a directory, or a link to one.
func isDir(path string, e os.DirEntry) bool {
	if e.Type()&os.ModeSymlink == 0 {
		return e.IsDir()
	}
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

func hasMeta(part string) bool {
	if runtime.GOOS == "windows" {
		return strings.ContainsAny(part, `*?[`)
	}
	return strings.ContainsAny(part, `*?[\`)
}
