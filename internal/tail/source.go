package tail

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"

	"fanin/internal/tail/container"
	"fanin/internal/wire"
)

// A source is a text in which these stand for parts of the file's path:
//
//	{name}    the file's name without .log
//	{file}    the file's name
//	{dir}     the name of the directory that the file is in
//	{parent}  the name of the directory above that one
//	{path}    the whole path
//
// {{ is a brace.

// sourceParts are the words that a source may have in braces.
func sourceParts(path string) map[string]string {
	dir := filepath.Dir(path)
	base := func(dir string) string { return strings.Trim(filepath.Base(dir), separator+".") }
	return map[string]string{
		"name": strings.TrimSuffix(filepath.Base(path), ".log"), "file": filepath.Base(path),
		"dir": base(dir), "parent": base(filepath.Dir(dir)), "path": path,
	}
}

// defaultSource is the source of a table that has none.
const defaultSource = "{name}"

// CheckSource returns what is wrong with the source of a table.
func CheckSource(source string) error {
	if source == wire.SourceNotice {
		return fmt.Errorf("%q is the collector's own source; choose another", source)
	}
	_, err := expandSource(source, "")
	return err
}

// expandSource returns the source of the lines of a file.
func expandSource(source, path string) (string, error) {
	var b strings.Builder
	parts := sourceParts(path)
	for rest := source; ; {
		before, after, found := strings.Cut(rest, "{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if strings.HasPrefix(after, "{") {
			b.WriteByte('{')
			rest = after[1:]
			continue
		}
		word, after, closed := strings.Cut(after, "}")
		value, known := parts[word]
		if !closed || !known {
			return source, fmt.Errorf("unknown part %q in %q; want {name}, {file}, {dir}, {parent} or {path}, and {{ "+
				"for a brace", "{"+strings.TrimSuffix(word+"}", "}}"), source)
		}
		b.WriteString(value)
		rest = after
	}
}

// source returns the source of the lines of a file. The collector's own is reserved, and none is
// longer than wire.MaxName.
func (table *Table) source(path string) string {
	if table.Container && table.Source == "" {
		if source := container.Source(path); source != "" {
			return source
		}
	}
	source, _ := expandSource(cmp.Or(table.Source, defaultSource), path) // checked when it was loaded
	if source == wire.SourceNotice && table.Source == "" {
		source = filepath.Base(path)
	}
	if source == wire.SourceNotice {
		source += "_"
	}
	return source[max(0, len(source)-wire.MaxName):] // the end says most
}
