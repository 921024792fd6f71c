package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
)

// tally is what is wrong with the lines of a file.
type tally struct {
	Lines, Lost, Doubled, Reordered, Torn int
}

// tallyFile holds the lines of a file against those sent: sources times each.
func tallyFile(path string, sources, each int) (tally, error) {
	return tallyBlock(path, newCounter(sources, each))
}

// tallyBlock holds the lines of a file against those that a counter expects.
func tallyBlock(path string, c *counter) (tally, error) {
	if err := c.file(path); err != nil {
		return tally{}, err
	}
	return c.end(), nil
}

// file counts the lines of a file.
func (c *counter) file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			c.line(bytes.TrimSuffix(bytes.TrimSuffix(line, jsonEnd), []byte{'\n'}))
		}
		switch err {
		case nil, bufio.ErrBufferFull: // a longer line than any of ours is torn, twice
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

// counter counts lines by source and number.
type counter struct {
	tally
	each  int
	seen  [][]bool
	next  []int // number that should come next
	block *block
}

func newCounter(sources, each int) *counter {
	c := &counter{each: each, next: make([]int, sources), block: newBlock(0)}
	for range sources {
		c.seen = append(c.seen, make([]bool, each))
	}
	return c
}

func (c *counter) line(line []byte) {
	at := bytes.IndexByte(line, '@')
	if at < 0 {
		return // the log's own
	}
	line = line[at:]
	source, number, ok := parse(line)
	if !ok || source >= len(c.seen) || number >= c.each || !bytes.Equal(line[headSize:], c.block.line(number)) {
		c.Torn++
		return
	}
	c.Lines++
	switch {
	case c.seen[source][number]:
		c.Doubled++
	case number < c.next[source]:
		c.Reordered++
	}
	c.seen[source][number] = true
	c.next[source] = max(c.next[source], number+1)
}

func parse(line []byte) (source, number int, ok bool) {
	if len(line) < headSize || line[3] != '.' || line[12] != ' ' {
		return 0, 0, false
	}
	source = int(line[1]-'0')*10 + int(line[2]-'0')
	for _, d := range line[4:12] {
		if d < '0' || d > '9' {
			return 0, 0, false
		}
		number = number*10 + int(d-'0')
	}
	return source, number, source >= 0
}

func (c *counter) end() tally {
	for _, seen := range c.seen {
		for _, s := range seen {
			if !s {
				c.Lost++
			}
		}
	}
	return c.tally
}
