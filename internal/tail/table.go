package tail

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"fanin/internal/tail/decode"
	"fanin/internal/wire"
)

// Table is which files to follow, and how.
type Table struct {
	Files      []string       // files by their paths, sorted; nothing excludes them
	Paths      []string       // patterns as of filepath.Match
	Exclude    []string       // patterns, of the whole path or the base name
	FromEnd    bool           // files that exist at the very first start are followed from their end
	Source     string         // the source of the lines; default: the base name without .log
	SyncSource bool           // make the source durable before its lines are sent
	Whole      bool           // the files are complete: a last line without a newline is a line
	Archives   bool           // of compressed files, what they contain is read: they are complete
	Decoder    decode.Decoder // of the files' format; default: decode.Plain
	Choose     decode.Chooser // of the decoder of each file, instead of Decoder
}

// packed are the extensions of files that rotation compressed: their lines were sent before.
var packed = []string{".gz", ".zst", ".xz", ".bz2", ".lz4", ".Z", ".zip"}

// Packed reports whether a file is never followed because its name says that it is compressed.
func Packed(path string) bool { return slices.Contains(packed, filepath.Ext(path)) }

// Excludes reports whether a file is not followed although a pattern names it.
func (table *Table) Excludes(path string) bool {
	if Packed(path) {
		return true
	}
	for _, pattern := range table.Exclude {
		whole, _ := filepath.Match(pattern, path)
		base, _ := filepath.Match(pattern, filepath.Base(path))
		if whole || base {
			return true
		}
	}
	return false
}

// source returns the source of the lines of a file.
func (table *Table) source(path string) string {
	name := strings.TrimSuffix(filepath.Base(path), ".log")
	if name == wire.SourceNotice { // reserved for the collector, which refuses it from agents
		name = filepath.Base(path)
	}
	return cmp.Or(table.Source, name)
}

// lists reports whether path is one of Files.
func (table *Table) lists(path string) bool {
	_, found := slices.BinarySearch(table.Files, path)
	return found
}

// names reports whether a table names path.
func (t *Tailer) names(path string) bool {
	return slices.ContainsFunc(t.Tables, func(table Table) bool {
		return table.lists(path) || !table.Excludes(path) && slices.ContainsFunc(table.Paths, matches(path))
	})
}

// matches returns whether a pattern names path.
func matches(path string) func(pattern string) bool {
	return func(pattern string) bool {
		ok, _ := filepath.Match(pattern, path)
		return ok
	}
}

// tableOf returns the table that names a path, or an empty one.
func (t *Tailer) tableOf(path string) *Table {
	for i := range t.Tables {
		if x := &t.Tables[i]; x.lists(path) || slices.ContainsFunc(x.Paths, matches(path)) {
			return x
		}
	}
	return &Table{}
}
