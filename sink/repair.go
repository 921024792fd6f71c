package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Repair makes a log with damaged state usable again. Nothing is deleted: the state
// directory is renamed to a dated name, and the log's files stay. What the write-ahead
// log still holds behind the last checkpoint, without the damaged frame, is written to
// a file of its own beside the log, since it cannot be known whether the log's file has
// it, too. The next start then finds a log without state: agents' saved positions decide what is
// sent again. Repair returns what it did, as text.
func Repair(ctx context.Context, path, state string) (did []string, err error) {
	s := &Sink{Path: path, State: state}
	if err := s.defaults(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(s.State); err != nil {
		return nil, fmt.Errorf("nothing to repair: %w", err)
	}
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.unlock()
	cause := s.diagnose()
	if cause == nil {
		return []string{"the state can be read: nothing to repair, and nothing was changed"}, nil
	}
	did = append(did, "damage: "+cause.Error())
	stamp := time.Now().UTC().Format("20060102T150405")
	saved := s.Path + ".rescued-" + stamp
	lines, err := s.rescue(saved)
	if err != nil {
		return did, fmt.Errorf("rescue the write-ahead log: %w", err)
	}
	if lines > 0 {
		did = append(did, fmt.Sprintf("%d lines of the write-ahead log are in %s; some or all of them are in "+
			"the log too", lines, saved))
	}
	aside := s.State + ".damaged-" + stamp
	if err := s.Disk.Rename(s.State, aside); err != nil {
		return did, fmt.Errorf("rename the damaged state: %w", err)
	}
	return append(did, "the damaged state is in "+aside, "start the collector: it keeps the log's files and "+
		"begins a new incarnation; agents' saved positions decide what is sent again"), ctx.Err()
}

// diagnose reads all of the state and returns what is damaged first.
func (s *Sink) diagnose() error {
	sl, err := readCheckpoint(s.State)
	if err != nil || sl == nil {
		return err
	}
	if _, err := readCatalogLog(nil, s.State, sl.CatalogLog, sl.CatalogLogSize); err != nil {
		return err
	}
	r := &recovery{s: s, slot: sl}
	return r.readFrames()
}

// rescue writes the text of all whole frames that no checkpoint covers to path,
// in their order, and counts the lines.
func (s *Sink) rescue(path string) (lines int, err error) {
	f, err := os.Open(filepath.Join(s.State, walName))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	frames := wholeFrames(f, fi.Size())
	if sl, err := readCheckpoint(s.State); err == nil && sl != nil {
		frames = behind(frames, sl)
	}
	var text []byte
	for i := range frames {
		text = append(text, frames[i].text...)
		lines += countAll(frames[i : i+1])
	}
	if lines == 0 {
		return 0, nil
	}
	if err := s.Disk.WriteFile(path, text, s.Modes.File); err != nil {
		return lines, err
	}
	return lines, os.Chmod(path, s.Modes.File)
}
