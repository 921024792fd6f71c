package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"fanin/internal/disk"
	"fanin/internal/wire"
	"fanin/sink"
)

// saved is what a relay keeps on its disk: a JSON object, replaced as a whole. It is never ahead
// of what the upstream acknowledged. Without it, the upstream's watermark says where to continue;
// it is needed where the upstream lost that, and by retention while the upstream is away.
type saved struct {
	Log         string   `json:"log"`         // the id of the log that the positions are of; "": none was saved
	To          string   `json:"to"`          // where the upstream was; another one has another way
	Run         int64    `json:"run"`         // of this relay, counted up with each start
	Upstream    string   `json:"upstream"`    // the log that acknowledged; "": none did
	Incarnation string   `json:"incarnation"` // of that log
	At          string   `json:"at"`          // the position up to which this log was acknowledged, or expired
	Tail        uint64   `json:"tail"`        // the tail hash there
	Floor       string   `json:"floor"`       // the lines before it were counted as lost; "": none was
	Known       bool     `json:"known"`       // the way is all of it
	Way         []string `json:"way"`         // of a line, from the upstream on
}

// load reads what was saved. What cannot be read is as if it had never been there: damaged says so.
func load(path string) (s saved, damaged error) {
	b, err := disk.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return saved{}, nil
	case err == nil:
		err = json.Unmarshal(b, &s)
	}
	for _, at := range []string{s.At, s.Floor} {
		if err == nil && at != "" {
			_, err = sink.ParsePosition(at)
		}
	}
	if err == nil && len(s.way().Logs) != len(s.Way) {
		err = fmt.Errorf("the way %q", s.Way)
	}
	if err != nil {
		return saved{}, fmt.Errorf("read %s: %w", path, err)
	}
	return s, nil
}

func (s *saved) store(d *disk.Disk, path string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return d.WriteFile(path, append(b, '\n'), 0o600)
}

// position is the position that was acknowledged; false: none was.
func (s *saved) position() (at sink.Position, ok bool) {
	at, err := sink.ParsePosition(s.At)
	return at, err == nil
}

// way is the way from the upstream on, as far as it can be read.
func (s *saved) way() (w wire.Way) {
	w.Known = s.Known
	for _, text := range s.Way {
		id, err := wire.ParseStreamID(text)
		if err != nil || len(w.Logs) == wire.MaxWay {
			return wire.Way{}
		}
		w.Logs = append(w.Logs, id)
	}
	return w
}

func (s *saved) setWay(w wire.Way) {
	s.Known, s.Way = w.Known, nil
	for _, id := range w.Logs {
		s.Way = append(s.Way, id.String())
	}
}
