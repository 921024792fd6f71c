// Package summary counts the lines of a file of the log by minute, host and source, and keeps
// that in a file of its own, so that a histogram of the whole log needs none of its text.
package summary

import (
	"encoding/binary"
	"errors"
	"fmt"

	"fanin/internal/disk"
)

// A summary is a file. It has rows, and each row has cells: how many lines a minute has, or
// several minutes if a file lasts so long that there would be too many cells. A cell is of
// the minute in which its lines were read. The first row counts all lines; the second one
// those of series that have no row of their own; the others are series, those with the most
// lines, sorted by host and source. Numbers are little endian; a uvarint is that of
// encoding/binary, in its shortest form.
//
//	  0  "fansum1\n"
//	  8  u64  generation of the file
//	 16  u64  its inode, as the catalog has it
//	 24  i64  when it was opened, in microseconds since 1970
//	 32  i64  bytes of its text: all of them are counted
//	 40  u64  lines
//	 48  i64  number of the earliest cell: minutes since 1970, divided by those of a cell
//	 56  i64  number of the latest cell
//	 64  u32  minutes of a cell: a power of two; of an outline's, mostly 60
//	 68  u32  number of rows: at least 2, at most 1,002
//	 72  u32  bytes of the directory
//	 76  u32  CRC-32C of the 76 bytes before
//	 80  the directory, for each row:
//	       uvarint, host      its length, and as many bytes; empty in the first two rows
//	       uvarint, source    likewise
//	       uvarint            lines
//	       uvarint            bytes of its cells
//	  .  the cells of all rows, for each cell, in the order of time:
//	       uvarint            its number, less that of the cell before; the first one's,
//	                          less that of the earliest cell
//	       uvarint            lines, at least 1
//	end  u32  CRC-32C of everything before
//
// What a summary says of its file can be counted again from the text and the ledger. So one
// that is damaged, or is of another file, is made again; it is never synced.
const (
	magic      = "fansum1\n"
	headerSize = 80
	ownRows    = 2 // those that are no series
)

// MaxSeries is how many series a summary has; the lines of all others are counted together.
const MaxSeries = 1000

// File tells which file a summary is of.
type File struct {
	Generation uint64
	Inode      uint64 // as the catalog has it: a compressed file keeps that of the plain one
	Opened     int64  // in microseconds since 1970
	Size       int64  // bytes of its text
}

// Series names lines that are counted together. Lines of the raw format have no names.
type Series struct{ Host, Source string }

// Compare orders series by host, then by source.
func (s Series) Compare(t Series) int {
	if s.Host != t.Host {
		return compare(s.Host, t.Host)
	}
	return compare(s.Source, t.Source)
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Summary is a summary that was read. It points into the bytes that it was read from.
type Summary struct {
	File        File
	Lines       uint64
	Step        int64 // minutes of a cell
	First, Last int64 // minutes since 1970: where the earliest and the latest cell begin
	All, Other  Row
	Series      []Row

	head []byte // its first bytes
}

// Row is one row of a summary: its lines, by time.
type Row struct {
	Host, Source []byte
	Lines        uint64

	cells []byte
	first int64 // number of the earliest cell of all rows
	step  int64
}

// Each calls f with the minute in which each cell begins, since 1970, and its lines.
func (r *Row) Each(f func(minute int64, lines uint64)) {
	number := r.first
	for b := r.cells; len(b) > 0; {
		skip, n := binary.Uvarint(b)
		if n <= 0 {
			return
		}
		lines, m := binary.Uvarint(b[n:])
		if m <= 0 {
			return
		}
		number += int64(skip)
		b = b[n+m:]
		f(number*r.step, lines)
	}
}

// Minutes before and after which no cell can be.
const (
	earliest = -1 << 40
	latest   = 1 << 40
)

// ErrDamaged is wrapped by every error of Parse.
var ErrDamaged = errors.New("a damaged summary")

// HeadSize is how many bytes of a summary ParseHead reads.
const HeadSize = headerSize

// ParseHead reads the beginning of a summary: all but its rows.
func ParseHead(b []byte) (*Summary, error) {
	switch le := binary.LittleEndian; {
	case len(b) < headerSize || string(b[:len(magic)]) != magic:
		return nil, fmt.Errorf("%w: it does not begin like one", ErrDamaged)
	case disk.Checksum(b[:76]) != le.Uint32(b[76:]):
		return nil, fmt.Errorf("%w: a checksum does not match", ErrDamaged)
	}
	return parseHead(b)
}

// Parse reads a summary. It checks everything but the cells, which the last checksum covers.
func Parse(b []byte) (*Summary, error) {
	s, err := ParseHead(b)
	if err != nil {
		return nil, err
	}
	switch n := len(b) - 4; {
	case n < headerSize:
		return nil, fmt.Errorf("%w: it ends early", ErrDamaged)
	case disk.Checksum(b[:n]) != binary.LittleEndian.Uint32(b[n:]):
		return nil, fmt.Errorf("%w: a checksum does not match", ErrDamaged)
	}
	if err := s.parseRows(b); err != nil {
		return nil, err
	}
	return s, nil
}

// parseHead reads the beginning of a summary whose checksums match.
func parseHead(b []byte) (*Summary, error) {
	le := binary.LittleEndian
	s := &Summary{
		File: File{le.Uint64(b[8:]), le.Uint64(b[16:]), int64(le.Uint64(b[24:])), int64(le.Uint64(b[32:]))},
		Step: int64(le.Uint32(b[64:])), Lines: le.Uint64(b[40:]), head: b[:headerSize:headerSize],
	}
	first, last := int64(le.Uint64(b[48:])), int64(le.Uint64(b[56:]))
	if !validStep(s.Step) || first > last || first < earliest || last > latest {
		return nil, fmt.Errorf("%w: its times are wrong", ErrDamaged)
	}
	s.First, s.Last = first*s.Step, last*s.Step
	return s, nil
}

// parseRows reads the rows of a summary.
func (s *Summary) parseRows(b []byte) error {
	le := binary.LittleEndian
	rows, directory := int(le.Uint32(b[68:])), int64(le.Uint32(b[72:]))
	if rows < ownRows || rows > ownRows+MaxSeries || directory > int64(len(b)-headerSize-4) {
		return fmt.Errorf("%w: its directory is wrong", ErrDamaged)
	}
	d := directoryReader{b: b[headerSize : headerSize+directory], cells: b[headerSize+directory : len(b)-4],
		first: int64(le.Uint64(b[48:])), step: s.Step}
	s.All, s.Other = d.row(), d.row()
	s.Series = make([]Row, rows-ownRows)
	for i := range s.Series {
		s.Series[i] = d.row()
	}
	if d.bad || len(d.b) > 0 || len(d.cells) > 0 || s.All.Lines != s.Lines {
		return fmt.Errorf("%w: its rows do not fit", ErrDamaged)
	}
	return nil
}

// directoryReader takes rows off a directory, and their cells off all cells.
type directoryReader struct {
	b, cells    []byte
	first, step int64
	bad         bool
}

func (d *directoryReader) row() (r Row) {
	r.first, r.step = d.first, d.step
	r.Host = take(&d.b, d.number(), &d.bad)
	r.Source = take(&d.b, d.number(), &d.bad)
	r.Lines = d.number()
	r.cells = take(&d.cells, d.number(), &d.bad)
	return r
}

func (d *directoryReader) number() uint64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[size:]
	return n
}

// take takes n bytes off b.
func take(b *[]byte, n uint64, bad *bool) (taken []byte) {
	if n > uint64(len(*b)) {
		*bad = true
		return nil
	}
	taken, *b = (*b)[:n:n], (*b)[n:]
	return taken
}
