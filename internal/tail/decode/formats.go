package decode

import (
	"bytes"
	"fmt"
	"slices"
)

// Chooser chooses the decoder of a file by its first bytes, of which it gets up to 1 KiB.
// It returns nil as long as they are too few to tell; if they are the whole file, which
// will not grow, it chooses all the same.
type Chooser func(head []byte, whole bool) Decoder

// Always chooses d for every file.
func Always(d Decoder) Chooser { return func([]byte, bool) Decoder { return d } }

// Options are what a configuration says of the files of a table.
type Options struct {
	Format    string     // one of Formats; default "plain"
	Encoding  string     // one of Encodings, of plain text; default "utf-8"
	Multiline *Multiline // nil: each line is a record. Of is not set
}

// format is a format of files by its name.
type format struct {
	name   string
	choose Chooser
}

// formats are the formats of files. Encodings are those of the first one.
func formats() []format {
	return []format{
		{"plain", Always(Plain{})},
		{"cri", Always(CRI{})},
		{"docker", Always(Docker{})},
		{"auto", Detect},
	}
}

// Detect chooses a decoder of container logs if the file's first line is a record of such a
// log, and Plain otherwise.
func Detect(head []byte, whole bool) Decoder {
	line, _, ended := bytes.Cut(head, []byte{'\n'})
	var c clock
	for _, x := range []struct {
		records
		Decoder
	}{{criRecords{}, CRI{}}, {dockerRecords{}, Docker{}}} {
		if e := x.records.read(&c, line, ended); len(line) > 0 && !e.unfit {
			return x.Decoder
		}
	}
	if !ended && !whole && len(head) < detectable {
		return nil
	}
	return Plain{}
}

// detectable is how many bytes without a line end tell that they are no record.
const detectable = 128

// Formats are the names of the formats of files.
func Formats() (names []string) {
	for _, f := range formats() {
		names = append(names, f.name)
	}
	return names
}

// New returns what chooses the decoders of files.
func New(o Options) (Chooser, error) {
	all := formats()
	i := 0
	if o.Format != "" {
		i = slices.IndexFunc(all, func(f format) bool { return f.name == o.Format })
	}
	if i < 0 {
		return nil, fmt.Errorf("format %q: want one of %q", o.Format, Formats())
	}
	choose := all[i].choose
	if i == 0 {
		choose = encoded(o.Encoding)
	}
	switch {
	case choose == nil:
		return nil, fmt.Errorf("encoding %q: want one of %q", o.Encoding, Encodings())
	case i > 0 && o.Encoding != "" && o.Encoding != encodingUTF8:
		return nil, fmt.Errorf("format %q is in UTF-8 always: remove encoding", o.Format)
	case o.Multiline == nil:
		return choose, nil
	}
	return func(head []byte, whole bool) Decoder {
		lines := choose(head, whole)
		if lines == nil {
			return nil
		}
		return o.Multiline.of(lines)
	}, nil
}
