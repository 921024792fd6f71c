package redis

import (
	"encoding/json"
	"errors"
	"io/fs"

	"fanin/internal/disk"
	"fanin/sink"
)

// begin is the position of the first line that the target was given: what a server that has
// nothing left has lost begins there. It is a JSON file in the state directory,
//
//	{"log": "...", "target": "stream fanin", "begin": "3:4096"}
//
// which is written before the first line is sent. It is not needed for anything else: how far
// the target has the log, the target itself says.
type begin struct {
	disk *disk.Disk
	mode fs.FileMode
	path string
	at   sink.Position // the zero position: not known

	Log    string `json:"log"`
	Target string `json:"target"`
	Begin  string `json:"begin"`
}

// load reads the file. What it says of another log or another target is not known here.
func (b *begin) load() error {
	data, err := disk.ReadFile(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var saved begin
	if err := json.Unmarshal(data, &saved); err != nil || saved.Log != b.Log || saved.Target != b.Target {
		return nil
	}
	if at, err := sink.ParsePosition(saved.Begin); err == nil {
		b.at = at
	}
	return nil
}

// known reports whether there is a beginning.
func (b *begin) known() bool { return b.at != sink.Position{} }

// set changes the beginning, durably.
func (b *begin) set(at sink.Position) error {
	if at == b.at {
		return nil
	}
	b.Begin = at.String()
	data, err := json.Marshal(b)
	if err == nil {
		err = b.disk.WriteFile(b.path, append(data, '\n'), b.mode)
	}
	if err != nil {
		return refusef("save where the output began: %w", err)
	}
	b.at = at
	return nil
}
