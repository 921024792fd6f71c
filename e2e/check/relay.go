package check

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"fanin/sink"
)

// Relay is a log and the one that it is forwarded to, both in format syslog and on this machine.
type Relay struct {
	Below, BelowState string
	Above, AboveState string
	Host              string // of the relay, as it names itself
}

// Compare holds the log above against the one below: apart from its own notices it must be the same,
// byte for byte, with one difference: the notices of the log below show the relay's host, since both
// collectors have the same one. The log below may end in notices that it wrote when it was stopped.
func (x *Relay) Compare() error {
	own, err := os.Hostname()
	if err != nil {
		return err
	}
	below, err := openAll(x.Below, x.BelowState)
	if err != nil {
		return err
	}
	defer below.close()
	above, err := openAll(x.Above, x.AboveState)
	if err != nil {
		return err
	}
	defer above.close()
	notice, renamed := []byte(" "+own+" fanin: "), []byte(" "+x.Host+" fanin: ")
	for n := 1; ; n++ {
		want, err := below.next()
		if err != nil {
			return err
		}
		ownNotice := isNotice(want, notice)
		if ownNotice {
			want = bytes.Replace(want, notice, renamed, 1)
		}
		got, err := above.next()
		for err == nil && isNotice(got, notice) {
			got, err = above.next()
		}
		switch {
		case err != nil:
			return err
		case got == nil && (want == nil || ownNotice):
			return nil
		case !bytes.Equal(got, want):
			return fmt.Errorf("line %d that %s has is\n%.200q\nand in %s it is\n%.200q", n, x.Below, want, x.Above, got)
		}
	}
}

// isNotice reports whether a line is a notice of the collector itself: mark follows its time.
func isNotice(line, mark []byte) bool {
	return len(line) > len(timeShape) && bytes.HasPrefix(line[len(timeShape):], mark)
}

// allLines reads the lines of a log, over all of its files.
type allLines struct {
	paths []string
	file  io.ReadCloser
	lines *bufio.Reader
}

// openAll begins with the oldest line of the log at path.
func openAll(path, state string) (*allLines, error) {
	generations, err := sink.Generations(path, state)
	if err != nil {
		return nil, err
	}
	a := &allLines{}
	for _, g := range generations {
		if g.Name == "" {
			return nil, fmt.Errorf("file %d of %s is %s", g.Number, path, g.State)
		}
		a.paths = append(a.paths, filepath.Join(filepath.Dir(path), g.Name))
	}
	return a, nil
}

// next is the next line, nil at the end.
func (a *allLines) next() ([]byte, error) {
	for {
		if a.file == nil && len(a.paths) == 0 {
			return nil, nil
		}
		if a.file == nil {
			var err error
			if a.file, err = open(a.paths[0]); err != nil {
				return nil, err
			}
			a.lines, a.paths = bufio.NewReaderSize(a.file, 1<<20), a.paths[1:]
		}
		line, err := a.lines.ReadBytes('\n')
		if err == nil {
			return line, nil
		}
		if err != io.EOF || len(line) > 0 {
			return nil, fmt.Errorf("a torn line %.200q: %w", line, err)
		}
		a.close()
	}
}

func (a *allLines) close() {
	if a.file != nil {
		a.file.Close()
		a.file = nil
	}
}
