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

// formats are the formats of files. The first one, plain text, has encodings instead of a
// Chooser.
func formats() []format {
	return []format{
		{"plain", nil},
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

// format returns the row of the format, nil if there is none.
func (o *Options) format() *format {
	all := formats()
	if o.Format == "" {
		return &all[0]
	}
	if i := slices.IndexFunc(all, func(f format) bool { return f.name == o.Format }); i >= 0 {
		return &all[i]
	}
	return nil
}

// Check returns what is wrong with the options.
func (o *Options) Check() error {
	f := o.format()
	switch {
	case f == nil:
		return fmt.Errorf("format %q: want one of %q", o.Format, Formats())
	case encoded(o.Encoding) == nil:
		return fmt.Errorf("encoding %q: want one of %q", o.Encoding, Encodings())
	case f.choose != nil && o.Encoding != "" && o.Encoding != encodingUTF8:
		return fmt.Errorf("format %q is always in UTF-8: remove encoding", o.Format)
	}
	return nil
}

// Choose is a Chooser for options that Check accepts.
func (o *Options) Choose(head []byte, whole bool) Decoder {
	choose := o.format().choose
	if choose == nil {
		choose = encoded(o.Encoding)
	}
	d := choose(head, whole)
	if d != nil && o.Multiline != nil {
		return o.Multiline.of(d)
	}
	return d
}
