package tail

import (
	"path/filepath"
	"slices"
	"strings"
)

// Find calls found for the paths that one of the table's patterns names now, in no order, until
// found returns false. What is excluded is not found.
func (table *Table) Find(pattern string, found func(path string) (more bool)) {
	s := &sight{dirs: make(map[string]bool)}
	s.glob(pattern, table.skipped(), func(path string) { // a bad pattern finds nothing
		s.cut = s.cut || !table.Excludes(path) && !found(path)
	})
}

// Finds reports whether one of the table's patterns names a path now.
func (table *Table) Finds(pattern string) (some bool) {
	table.Find(pattern, func(string) bool {
		some = true
		return false
	})
	return some
}

// Reaches returns the path by which a pattern of the table names a file in a directory, through
// whatever links, "" if it names none. The files are relative to the directory, and need not exist;
// whatever a pattern names in a directory below it, which it leads to, is one, too.
func (table *Table) Reaches(pattern, dir string, files []string) string {
	list, err := partsOf(pattern)
	dir, aerr := filepath.Abs(dir)
	if err != nil || aerr != nil {
		return ""
	}
	real := realPath(dir)
	names, below := []string{dir, real}, ""
	for _, p := range list {
		consider := func(head string) {
			from := realPath(head)
			if inner, ok := within(real, from); ok && inner != "." {
				below = filepath.Join(head, p.rest[len(p.rest)-1])
			}
			if inner, ok := within(from, real); ok {
				names = append(names, filepath.Join(head, inner))
			}
		}
		consider(p.dir)
		p.heads(consider)
	}
	for _, name := range names {
		for _, file := range files {
			if path := filepath.Join(name, file); Matches(pattern, path) && !table.Excludes(path) {
				return path
			}
		}
	}
	if below != "" && !table.Excludes(below) {
		return below
	}
	return ""
}

// heads calls found for the directories that a pattern leads to without its last part, or before
// its first **.
func (p *parts) heads(found func(dir string)) {
	n := len(p.rest) - 1
	if first := slices.Index(p.rest, anyDepth); first >= 0 {
		n = first
	}
	if n == 0 {
		found(p.dir)
		return
	}
	w := walk{sight: &sight{dirs: make(map[string]bool)}, found: found}
	w.within(p.dir, p.rest[:n])
}

// realPath is a path without links, or as it is where it does not exist.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// within returns the path from a directory to what is in it.
func within(dir, path string) (inner string, ok bool) {
	inner, err := filepath.Rel(dir, path)
	return inner, err == nil && inner != ".." && !strings.HasPrefix(inner, ".."+separator)
}
