package check

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"

	"fanin/sink"
)

// Copy compares a copy of a log with the log: the same lines, each once, in the same order.
// Next returns the next line of the copy and its position, or io.EOF; a position that the
// copy does not have is "".
type Copy struct {
	Log, State string
	Next       func() (line, position string, err error)
}

// Check reads both, and returns how many lines they have.
func (c *Copy) Check() (lines int, err error) {
	generations, err := sink.Generations(c.Log, c.State)
	if err != nil {
		return 0, err
	}
	for _, g := range generations {
		if g.Name == "" {
			continue
		}
		n, err := c.file(g)
		if lines += n; err != nil {
			return lines, err
		}
	}
	if line, _, err := c.Next(); err != io.EOF {
		return lines, fmt.Errorf("after %d lines, the copy goes on with %.200q (%w)", lines, line, err)
	}
	return lines, nil
}

// file compares the lines of one file.
func (c *Copy) file(g sink.Generation) (lines int, err error) {
	r, err := open(filepath.Join(filepath.Dir(c.Log), g.Name))
	if err != nil {
		return 0, err
	}
	defer r.Close()
	in, at := bufio.NewReaderSize(r, 1<<20), sink.Position{Generation: g.Number}
	for ; ; lines++ {
		want, err := in.ReadString('\n')
		if err == io.EOF && want == "" {
			return lines, nil
		}
		if err != nil {
			return lines, fmt.Errorf("%s: %w", g.Name, err)
		}
		got, position, err := c.Next()
		if err != nil || got+"\n" != want || position != "" && position != at.String() {
			return lines, fmt.Errorf("line %d of %s at %s is %.200q, and the copy has %.200q at %q (%w)",
				lines+1, g.Name, at, want, got, position, err)
		}
		at.Offset += int64(len(want))
	}
}
