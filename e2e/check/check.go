// Package check holds a log against what was sent: no line lost, none twice,
// none torn, each source in its order, and no byte that anybody saw ever changed.
package check

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"

	"fanin/e2e/load"
	"fanin/sink"
)

// Expect says what a log should hold. Lines of sources that are not in it are
// phantoms.
type Expect struct {
	Written   map[int]int  // lines that each source sent
	Kept      map[int]int  // how many of those must be there, from the first one; sources not in it: all
	Format    string       // "syslog" (default), "json" or "raw"
	Destroyed []string     // copies of what another process destroyed: these lines need not be in the log
	Requests  map[int]bool // sources that are requests with a key: each may begin again, if its key was forgotten
	Whole     bool         // Written is not known: whatever is there must be there from the first line to the last
}

// Log checks the log at path, with its state in state ("" for the default
// place), against the lines written of each source.
func Log(path, state string, written map[int]int) (*Result, error) {
	return (&Expect{Written: written}).Log(path, state)
}

// Files checks plain files, in the order given, as if they were a log.
func Files(paths []string, written map[int]int) (*Result, error) {
	return (&Expect{Written: written}).Files(paths)
}

// Log checks the files of the log at path in the order of its catalog. Names
// prove nothing: a clock that was set back puts them out of order.
func (e *Expect) Log(path, state string) (*Result, error) {
	generations, err := sink.Generations(path, state)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, g := range generations {
		if g.Name != "" && (g.State == "live" || g.State == "plain" || g.State == "gzip") {
			paths = append(paths, filepath.Join(filepath.Dir(path), g.Name))
		}
	}
	return e.Files(paths)
}

// Files checks files, in the order given; those that end in .gz are unpacked.
func (e *Expect) Files(paths []string) (*Result, error) {
	strip, err := layoutOf(e.Format)
	if err != nil {
		return nil, err
	}
	c := &checker{expect: e, strip: strip}
	for _, path := range e.Destroyed {
		if err := c.destroyed(path); err != nil {
			return nil, err
		}
	}
	for _, path := range paths {
		if err := c.file(path); err != nil {
			return nil, err
		}
	}
	c.missing()
	return &c.result, nil
}

type checker struct {
	expect *Expect
	strip  layout
	result Result
	seen   tracks
	gone   tracks // in what was destroyed
}

// open opens a file of the log. One that was compressed since its name was read
// has another name now.
func open(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !strings.HasSuffix(path, ".gz") {
		path += ".gz"
		f, err = os.Open(path)
	}
	if err != nil || !strings.HasSuffix(path, ".gz") {
		return f, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return packed{z, f}, nil
}

// packed is a compressed file, read unpacked.
type packed struct {
	*gzip.Reader
	f *os.File
}

func (p packed) Close() error { return errors.Join(p.Reader.Close(), p.f.Close()) }

func (c *checker) file(path string) error {
	r, err := open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	return c.read(filepath.Base(path), r)
}

// read checks the text of one file.
func (c *checker) read(name string, r io.Reader) error {
	br := bufio.NewReaderSize(r, 1<<20)
	var long []byte // a line that is longer than the reader's buffer
	for n := 1; ; n++ {
		line, err := br.ReadSlice('\n')
		for long = long[:0]; err == bufio.ErrBufferFull; {
			long = append(long, line...)
			line, err = br.ReadSlice('\n')
		}
		if len(long) > 0 {
			line = append(long, line...)
		}
		if err == io.EOF && len(line) == 0 {
			return nil
		}
		if err != nil && err != io.EOF {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err == io.EOF {
			c.result.Torn++
			c.result.say("%s line %d: no newline at the end", name, n)
			continue
		}
		c.line(name, n, line[:len(line)-1])
	}
}

func (c *checker) line(name string, n int, line []byte) {
	r := &c.result
	body, source, ok := c.strip(line)
	if ok && source == "fanin" {
		if r.Notices++; len(r.Said) < mostSaid {
			r.Said = append(r.Said, string(body))
		}
		return
	}
	if !ok || bytes.IndexByte(line, 0) >= 0 {
		r.Torn++
		r.say("%s line %d: torn: %.100q", name, n, line)
		return
	}
	first, rest, several := bytes.Cut(body, innerNewline)
	src, seq, whole := c.lineOfRecord(name, n, first)
	for whole && several {
		r.Joined++
		before, last := src, seq
		first, rest, several = bytes.Cut(rest, innerNewline)
		if src, seq, whole = c.lineOfRecord(name, n, first); whole && (src != before || seq != last+1) {
			r.Torn++
			r.say("%s line %d: in a record, source %d line %d follows source %d line %d", name, n, src, seq, before, last)
		}
	}
}

// innerNewline stands for a newline in a record of several lines.
var innerNewline = []byte("#012")

// lineOfRecord checks a line, which may be one of several of a record.
func (c *checker) lineOfRecord(name string, n int, line []byte) (src, seq int, whole bool) {
	r := &c.result
	src, seq, err := load.Parse(line)
	if err != nil {
		r.Torn++
		r.say("%s line %d: torn: %.100q", name, n, line)
		return 0, 0, false
	}
	r.Lines++
	if !c.expect.Whole && seq >= c.expect.Written[src] {
		r.Phantom++
		r.say("%s line %d: source %d sent %d lines, this is %d", name, n, src, c.expect.Written[src], seq)
		return src, seq, true
	}
	c.place(name, n, src, seq)
	return src, seq, true
}

// place compares a line of a source with those before it.
func (c *checker) place(name string, n, src, seq int) {
	r, t := &c.result, c.seen.of(src)
	switch {
	case c.expect.Requests[src] && seq == 0 && t.has(0):
		r.Again++
		t.again = 1
	case t.has(seq) && t.again > 0 && seq == t.again:
		t.again++
	case t.has(seq):
		r.Doubled++
		r.say("%s line %d: source %d line %d a second time", name, n, src, seq)
	case seq < t.next:
		r.Reordered++
		r.say("%s line %d: source %d line %d behind %d", name, n, src, seq, t.next-1)
	}
	t.set(seq)
	t.next = max(t.next, seq+1)
}

// destroyed notes the whole lines of a copy of what was destroyed.
func (c *checker) destroyed(path string) error {
	r, err := open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	s := bufio.NewScanner(r)
	s.Buffer(nil, 4<<20)
	for s.Scan() {
		if body, _, ok := c.strip(s.Bytes()); ok {
			if src, seq, err := load.Parse(body); err == nil {
				c.gone.of(src).set(seq)
			}
		}
	}
	return s.Err()
}

// missing looks for the lines that should have been there.
func (c *checker) missing() {
	want := c.expect.Written
	if c.expect.Whole {
		want = make(map[int]int)
		for src, t := range c.seen.all {
			want[src] = t.next
		}
	}
	for src, n := range want {
		if kept, ok := c.expect.Kept[src]; ok {
			n = min(n, kept)
		}
		c.missingOf(src, n)
	}
}

func (c *checker) missingOf(src, n int) {
	lost := 0
	for seq := range n {
		switch {
		case c.seen.all[src].has(seq):
		case c.gone.all[src].has(seq):
			c.result.Destroyed++
		default:
			if lost++; lost == 1 {
				c.result.say("source %d, %d lines to be kept: line %d is missing", src, n, seq)
			}
		}
	}
	c.result.Lost += lost
}
