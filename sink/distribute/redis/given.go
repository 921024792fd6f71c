package redis

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"fanin/internal/disk"
	"fanin/sink"
)

// given is what the target was given. It is a JSON file in the state directory,
//
//	{"log": "...", "target": "stream fanin", "begin": "3:4096", "end": "5:81920"}
//
// Begin is the position of the first line: what a server that has nothing left has lost begins
// there. It is written before that line is sent. End is the position of the last one, or of one
// of the second before: a server that has less has lost lines, also where the log does not have
// them any more. How far the target has the log, the target itself says.
type given struct {
	disk *disk.Disk
	mode fs.FileMode
	path string

	begin, end sink.Position // the zero position: not known
	before     sink.Position // of the last line before begin, if lines were left out in between
	unsaved    bool          // something is not in the file

	Log    string `json:"log"`
	Target string `json:"target"`
	Begin  string `json:"begin"`
	End    string `json:"end,omitempty"`
	Before string `json:"before,omitempty"`
}

// load reads the file. What it says of another log or another target is not known here.
func (g *given) load() error {
	data, err := disk.ReadFile(g.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var saved given
	if err := json.Unmarshal(data, &saved); err != nil || saved.Log != g.Log || saved.Target != g.Target {
		return nil
	}
	if at, err := sink.ParsePosition(saved.Begin); err == nil {
		g.begin = at
	}
	if at, err := sink.ParsePosition(saved.End); err == nil {
		g.end = at
	}
	if at, err := sink.ParsePosition(saved.Before); err == nil {
		g.before = at
	}
	return nil
}

// known reports whether there is a beginning.
func (g *given) known() bool { return g.begin != sink.Position{} }

// setBegin changes the beginning, durably.
func (g *given) setBegin(at sink.Position) error {
	if at == g.begin {
		return nil
	}
	before := g.begin
	g.begin, g.unsaved = at, true
	if err := g.save(); err != nil {
		g.begin = before
		return fmt.Errorf("save where the output began: %w", err)
	}
	return nil
}

// leaveOut changes the beginning because the log lacks lines before it, or an operator left some
// out: what comes before them cannot be sent again.
func (g *given) leaveOut(to sink.Position) error {
	if to.Compare(g.begin) <= 0 {
		return nil
	}
	before := g.before
	g.before = g.end
	err := g.setBegin(to)
	if err != nil {
		g.before = before
	}
	return err
}

// text is a position as the file has it.
func text(at sink.Position) string {
	if (at == sink.Position{}) {
		return ""
	}
	return at.String()
}

// reached notes that the target has the line at a position; save makes that durable.
func (g *given) reached(at sink.Position) {
	if at.Compare(g.end) > 0 {
		g.end, g.unsaved = at, true
	}
}

// save writes the file, if it is out of date.
func (g *given) save() error {
	if !g.unsaved {
		return nil
	}
	g.Begin, g.End, g.Before = g.begin.String(), text(g.end), text(g.before)
	data, err := json.Marshal(g)
	if err == nil {
		err = g.disk.WriteFile(g.path, append(data, '\n'), g.mode)
	}
	g.unsaved = err != nil
	return err
}
