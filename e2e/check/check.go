// Package check holds a log against what was sent: no line lost, none twice,
// none torn, each source in its order, and no byte that anybody saw ever changed.
package check

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"

	"fanin/e2e/load"
	"fanin/sink"
)

// Result is what a check found. All but Lines and Notices should be 0.
type Result struct {
	Lines     int // of ours
	Notices   int // the log's own
	Lost      int
	Doubled   int
	Torn      int
	Reordered int
	Phantom   int // never sent
	Changed   int // bytes that a reader saw otherwise
	First     []string
}

// OK reports whether the log holds what was sent.
func (r *Result) OK() bool {
	return r.Lost+r.Doubled+r.Torn+r.Reordered+r.Phantom+r.Changed == 0
}

func (r *Result) String() string {
	return fmt.Sprintf("lines=%d notices=%d lost=%d doubled=%d torn=%d reordered=%d phantom=%d changed=%d",
		r.Lines, r.Notices, r.Lost, r.Doubled, r.Torn, r.Reordered, r.Phantom, r.Changed)
}

func (r *Result) say(format string, args ...any) {
	if len(r.First) < 20 {
		r.First = append(r.First, fmt.Sprintf(format, args...))
	}
}

// Log checks the log at path, with its state in state ("" for the default
// place), against the lines written of each source.
func Log(path, state string, written map[int]int) (*Result, error) {
	generations, err := sink.Generations(path, state)
	if err != nil {
		return nil, err
	}
	c := &checker{next: make(map[int]int), seen: make(map[int][]uint64), written: written}
	for _, g := range generations {
		if g.State != "live" && g.State != "plain" && g.State != "gzip" {
			continue
		}
		if err := c.file(filepath.Join(filepath.Dir(path), g.Name), g.State == "gzip"); err != nil {
			return nil, err
		}
	}
	c.missing()
	return &c.result, nil
}

type checker struct {
	result  Result
	next    map[int]int      // the line that a source should go on with
	seen    map[int][]uint64 // bits
	written map[int]int
}

func (c *checker) file(path string, packed bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var r io.Reader = f
	if packed {
		if r, err = gzip.NewReader(f); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return c.Read(filepath.Base(path), r)
}

// Read checks the text of one file.
func (c *checker) Read(name string, r io.Reader) error {
	br := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := br.ReadBytes('\n')
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
	body, notice := strip(line)
	if notice {
		c.result.Notices++
		return
	}
	src, seq, err := load.Parse(body)
	if err != nil || bytes.IndexByte(line, 0) >= 0 {
		c.result.Torn++
		c.result.say("%s line %d: torn: %.100q", name, n, line)
		return
	}
	c.result.Lines++
	if seq >= c.written[src] {
		c.result.Phantom++
		c.result.say("%s line %d: source %d has %d lines, this is %d", name, n, src, c.written[src], seq)
		return
	}
	if c.seen[src] == nil {
		c.seen[src] = make([]uint64, c.written[src]/64+1)
	}
	bit := uint64(1) << (seq % 64)
	switch {
	case c.seen[src][seq/64]&bit != 0:
		c.result.Doubled++
		c.result.say("%s line %d: source %d line %d a second time", name, n, src, seq)
	case seq < c.next[src]:
		c.result.Reordered++
		c.result.say("%s line %d: source %d line %d behind %d", name, n, src, seq, c.next[src]-1)
	}
	c.seen[src][seq/64] |= bit
	c.next[src] = max(c.next[src], seq+1)
}

// strip takes the prefix of the syslog layout off; notice says that the line is
// the log's own.
func strip(line []byte) (body []byte, notice bool) {
	head, body, ok := bytes.Cut(line, []byte(": "))
	if !ok {
		return line, false
	}
	fields := bytes.Fields(head)
	if len(fields) != 3 {
		return line, false
	}
	return body, string(fields[2]) == "fanin"
}

func (c *checker) missing() {
	for src, n := range c.written {
		lost := 0
		for seq := range n {
			if c.seen[src] == nil || c.seen[src][seq/64]&(1<<(seq%64)) == 0 {
				lost++
				if lost == 1 {
					c.result.say("source %d of %d lines: line %d is missing", src, n, seq)
				}
			}
		}
		c.result.Lost += lost
	}
}
