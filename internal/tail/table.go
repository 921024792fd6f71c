package tail

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fanin/internal/tail/container"
	"fanin/internal/tail/decode"
)

// Table is which files to follow, and how.
type Table struct {
	Files       []string       // files by their paths, sorted; nothing excludes them
	Paths       []string       // patterns, see CheckPattern
	Exclude     []string       // patterns, of the whole path or the base name
	IgnoreOlder time.Duration  // files that were not written to for longer are not begun; 0: all are
	FromEnd     bool           // files that exist at the very first start are followed from their end
	Source      string         // the source of the lines, see CheckSource; default: "{name}"
	SyncSource  bool           // make the source durable before its lines are sent
	Whole       bool           // the files are complete: a last line without a newline is a line
	Archives    bool           // of compressed files, what they contain is read: they are complete
	Container   bool           // the files are those of containers: see package container
	Decoder     decode.Decoder // of all files
	Text        decode.Options // chooses the decoder of each file, where Decoder is nil
	Settings    string         // other than before if, after a Reload, files are read in another way
}

// packed are the extensions of files that rotation compressed: their lines were sent before.
var packed = []string{".gz", ".zst", ".xz", ".bz2", ".lz4", ".Z", ".zip"}

// Packed reports whether a file is never followed because its name says that it is compressed.
func Packed(path string) bool { return slices.Contains(packed, filepath.Ext(path)) }

// Excludes reports whether a file is not followed although a pattern names it.
func (table *Table) Excludes(path string) bool {
	compressing := table.Container && filepath.Ext(path) == ".tmp" // by the kubelet
	return Packed(path) || compressing || table.excludes(path)
}

func (table *Table) excludes(path string) bool {
	return slices.ContainsFunc(table.Exclude, func(pattern string) bool {
		return Matches(pattern, path) || Matches(pattern, filepath.Base(path))
	})
}

// names reports whether one of the table's patterns names path, or the name that a file of a
// container had before it was rotated.
func (table *Table) names(path string) bool {
	live := path
	if table.Container {
		if name, _, ok := container.Order(filepath.Base(path)); ok {
			live = filepath.Join(filepath.Dir(path), name)
		}
	}
	return slices.ContainsFunc(table.Paths, func(pattern string) bool {
		return Matches(pattern, path) || live != path && Matches(pattern, live)
	})
}

// lists reports whether path is one of Files.
func (table *Table) lists(path string) bool {
	_, found := slices.BinarySearch(table.Files, path)
	return found
}

// Names reports whether the patterns name path, or did before it was compressed.
func (table *Table) Names(path string) bool {
	if Packed(path) {
		path = strings.TrimSuffix(path, filepath.Ext(path))
	}
	return table.names(path) && !table.excludes(path)
}

// names reports whether a table names path.
func (t *Tailer) names(path string) bool { return t.namedBy(path) != nil }

// tableOf returns the table that names a path, or an empty one.
func (t *Tailer) tableOf(path string) *Table {
	tables := t.tables()
	for i := range tables {
		if x := &tables[i]; x.lists(path) || x.names(path) {
			return x
		}
	}
	return &Table{}
}
