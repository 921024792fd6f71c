package distribute

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
	"unicode/utf8"

	"fanin/internal/disk"
	"fanin/sink"
)

// deadLetters are the dead letters of a group that are not yet in its file. The group's
// lock guards them.
//
// A line that failed for the last time is written to the file exactly once: first the
// cursors save that it is dead, with the length of the file; then the file is written;
// then the line is forgotten. After a crash in between, the file is cut to the saved
// length, and the line is written again.
type deadLetters struct {
	pending []*deadSpan
	end     int64 // bytes of the file that are known to be complete
}

// deadSpan is lines that failed for the last time.
type deadSpan struct {
	span
	Reason string
	Worker string
	Time   time.Time
	saved  bool // in the cursors
}

func (l *deadLetters) add(s span, reason, worker string) {
	l.pending = append(l.pending, &deadSpan{span: s, Reason: reason, Worker: worker, Time: time.Now().UTC()})
}

// saved returns those that the cursors have.
func (l *deadLetters) saved() (list []*deadSpan) {
	for _, s := range l.pending {
		if s.saved {
			list = append(list, s)
		}
	}
	return list
}

// deadLetter is one line of the file: a JSON object for each line of the log.
type deadLetter struct {
	Time     time.Time `json:"time"`
	Group    string    `json:"group"`
	Position string    `json:"position"`
	Attempts int       `json:"attempts"`
	Reason   string    `json:"reason"`
	Worker   string    `json:"worker"`
	Line     string    `json:"line"`
	Bytes    []byte    `json:"bytes,omitempty"` // in base64, if the line is not valid UTF-8
}

// deadPath returns the path of the group's file of dead letters.
func (g *group) deadPath() string {
	return filepath.Join(g.d.cursors.dir, "dead-"+g.name+".jsonl")
}

// resumeDeadLetters checks the saved length of the file. What a crash left after it is
// cut off when the dead letters are written again.
func (g *group) resumeDeadLetters() error {
	fi, err := os.Stat(g.deadPath())
	if errors.Is(err, fs.ErrNotExist) {
		g.dead.end = 0
		return nil
	}
	if err != nil {
		return err
	}
	g.dead.end = min(g.dead.end, fi.Size())
	return nil
}

// writeDeadLetters writes those that the cursors have, and forgets them.
func (g *group) writeDeadLetters(ctx context.Context) error {
	g.mu.Lock()
	ready, end := g.dead.saved(), g.dead.end
	g.mu.Unlock()
	if len(ready) == 0 {
		return nil
	}
	var text []byte
	gone := 0
	for _, l := range ready {
		more, err := g.deadLetterText(ctx, l)
		var missing *sink.GoneError
		if errors.As(err, &missing) {
			gone += l.lines
			continue
		}
		if err != nil {
			return fmt.Errorf("read a dead letter of group %s: %w", g.name, err)
		}
		text = append(text, more...)
	}
	end, err := g.appendDead(end, text)
	if err != nil {
		return fmt.Errorf("write the dead letters of group %s: %w", g.name, err)
	}
	g.written(ready, end, gone)
	return nil
}

// written forgets dead letters that are in the file, which ends at end. Of their lines,
// some were gone and are not in the file.
func (g *group) written(done []*deadSpan, end int64, gone int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	lines := 0
	for _, l := range done {
		lines += l.lines
	}
	g.counts.Dead += uint64(lines - gone)
	if gone > 0 {
		g.expiredLocked(gone, true, done[0].at(), done[len(done)-1].end(),
			"it failed for the last time and is no longer there")
	}
	g.dead.end = end
	g.dead.pending = slices.DeleteFunc(g.dead.pending, func(l *deadSpan) bool { return l.saved }) // those in done
	g.changedLocked()
	g.d.log.Warn("lines failed for the last time and were written to the dead letters",
		"group", g.name, "lines", lines-gone, "reason", done[0].Reason, "file", g.deadPath())
}

// deadLetterText returns the lines of the file for a span of the log.
func (g *group) deadLetterText(ctx context.Context, l *deadSpan) (text []byte, err error) {
	r := g.d.sink.Reader(l.at())
	defer r.Close()
	buf := make([]byte, 64<<10)
	for at := l.at(); at.Generation == l.generation && at.Offset < l.to; at = r.At() {
		lines, from, err := readWithin(ctx, r, l.span, buf)
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(lines) {
			if from.Offset >= l.to {
				break
			}
			d := deadLetter{Time: l.Time, Group: g.name, Position: from.String(), Attempts: l.attempts,
				Reason: l.Reason, Worker: l.Worker}
			from.Offset += int64(len(line))
			line = bytes.TrimSuffix(line, []byte{'\n'})
			if d.Line = string(line); !utf8.Valid(line) {
				d.Bytes = line
			}
			b, err := json.Marshal(d)
			if err != nil {
				return nil, err
			}
			text = append(append(text, b...), '\n')
		}
	}
	return text, nil
}

// appendDead writes text at byte end of the file, or at the beginning of a new one, and
// makes it durable. It returns the new end.
func (g *group) appendDead(end int64, text []byte) (int64, error) {
	if len(text) == 0 {
		return end, nil
	}
	d := g.d.sink.Disk
	f, err := d.Open(g.deadPath(), os.O_RDWR|os.O_CREATE, g.d.sink.Modes.File)
	if err != nil {
		return end, err
	}
	defer f.Close()
	if err := f.HaveMode(g.d.sink.Modes.File); err != nil {
		return end, err
	}
	fi, err := f.Stat()
	if err != nil {
		return end, err
	}
	fresh := fi.Size() == 0
	if fi.Size() > end {
		if err := f.Truncate(end); err != nil { // what a failed attempt or a crash left
			return end, err
		}
	}
	end = min(end, fi.Size()) // a file that was deleted gets no hole
	if _, err := f.WriteAt(text, end); err != nil {
		return end, err
	}
	end += int64(len(text))
	if !g.d.cursors.sync {
		return end, nil
	}
	if err := f.Sync(); err != nil {
		return end, err
	}
	if fresh {
		return end, d.SyncDir(filepath.Dir(g.deadPath()))
	}
	return end, nil
}

// rotateDead renames a file of dead letters that has grown too large. None is being
// written to it: pending is empty.
func (g *group) rotateDead() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead.end < g.d.now().DeadLetterBytes || len(g.dead.pending) > 0 {
		return
	}
	if err := g.d.sink.Disk.Rename(g.deadPath(), g.deadPath()+".1"); err != nil && !disk.IsFull(err) {
		g.d.warnings.Warn("dead", "cannot rename the file of dead letters; it keeps growing",
			"file", g.deadPath(), "err", err)
		return
	}
	g.dead.end = 0
	g.changedLocked()
}
