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
	"time"
	"unicode/utf8"

	"fanin/internal/disk"
	"fanin/sink"
)

// letter is lines that failed for the last time, on their way to the group's
// file of dead letters. That they are dead is saved first, with how long the file
// was; then the file is written; then they are forgotten. After a crash in
// between, the file is cut to that length and they are written again: once.
type letter struct {
	span
	Reason string
	Worker string
	Time   time.Time
	saved  bool // that it is dead
}

// deadLetter is a line of the file: JSON, one object per line of the log.
type deadLetter struct {
	Time     time.Time `json:"time"`
	Group    string    `json:"group"`
	Position string    `json:"position"`
	Attempts int       `json:"attempts"`
	Reason   string    `json:"reason"`
	Worker   string    `json:"worker"`
	Line     string    `json:"line"`
	Bytes    []byte    `json:"bytes,omitempty"` // base64: of a line that is no UTF-8
}

// deadPath is the group's file of dead letters.
func (g *group) deadPath() string {
	return filepath.Join(g.d.cursors.dir, "dead-"+g.name+".jsonl")
}

// resumeLetters finds where the file ends that was saved. What a crash left behind
// that is cut off when the letters are written again.
func (g *group) resumeLetters() error {
	fi, err := os.Stat(g.deadPath())
	if errors.Is(err, fs.ErrNotExist) {
		g.deadEnd = 0
		return nil
	}
	if err != nil {
		return err
	}
	g.deadEnd = min(g.deadEnd, fi.Size())
	return nil
}

// writeLetters writes those that are saved as dead, and forgets them.
func (g *group) writeLetters(ctx context.Context) error {
	g.mu.Lock()
	var ready []*letter
	for _, l := range g.letters {
		if l.saved {
			ready = append(ready, l)
		}
	}
	end := g.deadEnd
	g.mu.Unlock()
	if len(ready) == 0 {
		return nil
	}
	var text []byte
	expired := 0
	for _, l := range ready {
		more, err := g.letterText(ctx, l)
		var gone *sink.GoneError
		if errors.As(err, &gone) {
			expired += l.lines
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
	g.buried(ready, end, expired)
	return nil
}

// buried forgets letters that are in the file.
func (g *group) buried(done []*letter, end int64, expired int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.deadEnd = end
	lines := 0
	for _, l := range done {
		lines += l.lines
	}
	g.counts.Dead += uint64(lines - expired)
	if expired > 0 {
		g.lost(expired, true, done[0].at(), done[len(done)-1].end(), "it failed for the last time and is no longer there")
	}
	kept := g.letters[:0]
	for _, l := range g.letters {
		if !l.saved {
			kept = append(kept, l)
		}
	}
	g.letters = kept
	g.changed()
	g.d.Log.Warn("lines were put to the dead letters", "group", g.name, "lines", lines-expired, "reason", done[0].Reason, "file", g.deadPath())
}

// letterText is what the file says of a letter.
func (g *group) letterText(ctx context.Context, l *letter) (text []byte, err error) {
	r := g.d.Sink.Reader(l.at())
	defer r.Close()
	buf := make([]byte, 64<<10)
	for at := l.at(); at.Generation == l.generation && at.Offset < l.to; at = r.At() {
		lines, from, err := readAt(ctx, r, l.span, buf)
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(lines) {
			if from.Offset >= l.to {
				break
			}
			d := deadLetter{Time: l.Time, Group: g.name, Position: from.String(), Attempts: l.attempts, Reason: l.Reason, Worker: l.Worker}
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

// appendDead writes text at byte end of the file, or at the beginning of a new one,
// and makes it durable. It returns where the file ends then.
func (g *group) appendDead(end int64, text []byte) (int64, error) {
	if len(text) == 0 {
		return end, nil
	}
	d := g.d.Sink.Disk
	f, err := d.Open(g.deadPath(), os.O_RDWR|os.O_CREATE, g.d.Sink.Mode)
	if err != nil {
		return end, err
	}
	defer f.Close()
	if err := f.HaveMode(g.d.Sink.Mode); err != nil {
		return end, err
	}
	fi, err := f.Stat()
	if err != nil {
		return end, err
	}
	fresh := fi.Size() == 0
	if fi.Size() > end {
		if err := f.Truncate(end); err != nil { // of a try that failed, or that a crash cut off
			return end, err
		}
	}
	end = min(end, fi.Size()) // what was deleted leaves no hole
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

// moveDead moves a file of dead letters aside that has grown too large. Nothing
// is on its way into it: the group says so in the file of cursors.
func (g *group) moveDead() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.deadEnd < g.d.DeadLetterBytes || len(g.letters) > 0 {
		return
	}
	if err := g.d.Sink.Disk.Rename(g.deadPath(), g.deadPath()+".1"); err != nil && !disk.IsFull(err) {
		g.d.say("dead", "cannot move the dead letters aside; the file grows on", err)
		return
	}
	g.deadEnd = 0
	g.changed()
}
