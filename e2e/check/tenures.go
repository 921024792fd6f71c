package check

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"fanin/internal/cluster"
	"fanin/internal/wire"
	"fanin/sink"
)

// Place is where a log is, and its state.
type Place struct{ Log, State string }

// Tenures writes the lines of a partition to a file: those of each tenure, from the log that had the
// partition then. logs are all logs of the partition, by their ids.
func Tenures(path string, tenures []cluster.Tenure, logs map[string]Place) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for _, t := range tenures {
		at, ok := logs[t.Log]
		if !ok {
			return errors.Join(f.Close(), fmt.Errorf("no log has the id %s of the tenure of epoch %d", t.Log, t.Epoch))
		}
		if err := at.copy(f, t); err != nil {
			return errors.Join(f.Close(), fmt.Errorf("the tenure of epoch %d: %w", t.Epoch, err))
		}
	}
	return f.Close()
}

// copy copies the lines of a tenure.
func (l Place) copy(to io.Writer, t cluster.Tenure) error {
	from, err := sink.ParsePosition(t.From)
	if err != nil {
		return err
	}
	end := EndOfLog
	if t.To != "" {
		if end, err = sink.ParsePosition(t.To); err != nil {
			return err
		}
	}
	return l.copyFrom(to, from, end)
}

// EndOfLog is behind all lines.
var EndOfLog = sink.Position{Generation: 1 << 62}

// Lines counts the lines between two positions, without those that the log wrote by itself.
func (l Place) Lines(from, to sink.Position) (int, error) {
	var text bytes.Buffer
	if err := l.copyFrom(&text, from, to); err != nil {
		return 0, err
	}
	c := &checker{expect: &Expect{Whole: true}, strip: syslog}
	if err := c.read(l.Log, &text); err != nil {
		return 0, err
	}
	if c.result.Torn > 0 {
		return 0, fmt.Errorf("%s from %s to %s: %s", l.Log, from, to, c.result.First)
	}
	return c.result.Lines, nil
}

// copyFrom copies what is between two positions.
func (l Place) copyFrom(to io.Writer, from, end sink.Position) error {
	generations, err := sink.Generations(l.Log, l.State)
	if err != nil {
		return err
	}
	for _, g := range generations {
		if g.Number < from.Generation || g.Number > end.Generation || g.Name == "" {
			continue
		}
		lo, hi := int64(0), int64(1<<62)
		if g.Number == from.Generation {
			lo = from.Offset
		}
		if g.Number == end.Generation {
			hi = end.Offset
		}
		if err := copyRange(to, filepath.Join(filepath.Dir(l.Log), g.Name), lo, hi); err != nil {
			return err
		}
	}
	return nil
}

// copyRange copies bytes of a file of a log.
func copyRange(to io.Writer, path string, lo, hi int64) error {
	r, err := open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, lo); err != nil && err != io.EOF {
		return err
	}
	if hi <= lo {
		return nil
	}
	if _, err := io.CopyN(to, r, hi-lo); err != nil && err != io.EOF {
		return err
	}
	return nil
}

// logID is the log's id in a mark, see wire.LogMark.
var logID = regexp.MustCompile(`"log":"([0-9a-f]{32})"`)

// ID is the id of the log.
func (l Place) ID() (string, error) {
	path := filepath.Join(l.State, wire.StateMark) // the lock has none while a log is opened
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	m := logID.FindSubmatch(b)
	if m == nil {
		return "", fmt.Errorf("%s names no log", path)
	}
	return string(m[1]), nil
}
