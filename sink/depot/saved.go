package depot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"fanin/internal/disk"
)

// saved is what a copier keeps on its disk: a JSON object, replaced as a whole. Without it, each closed
// file is compared with the depot again, and nothing is copied that is there.
type saved struct {
	Log  string   `json:"log"`  // the id of the log that the files are of; "": none was saved
	To   string   `json:"to"`   // where they were copied to
	Done []string `json:"done"` // files that are there, or were given up: what their objects' names begin with
}

// load reads what was saved. What cannot be read is as if it had never been there: damaged says so.
func load(path string) (s saved, damaged error) {
	b, err := disk.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return saved{}, nil
	case err == nil:
		s, err = parseSaved(b)
	}
	if err != nil {
		return saved{}, fmt.Errorf("read %s: %w", path, err)
	}
	return s, nil
}

func parseSaved(b []byte) (s saved, err error) {
	if err := json.Unmarshal(b, &s); err != nil {
		return saved{}, err
	}
	if i := slices.IndexFunc(s.Done, func(stem string) bool { return !isStem(stem) }); i >= 0 {
		return saved{}, fmt.Errorf("%q is no file of a log", s.Done[i])
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
