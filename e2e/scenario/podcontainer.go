package scenario

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"fanin/e2e/load"
	"fanin/e2e/rig"
)

// podContainer writes what a container puts out, as its runtime does. Each of its outputs is a
// source.
type podContainer struct {
	*node
	source    int
	dir, name string
	file      *os.File
	size      int
	rotated   []string // names of rotated files that are not compressed, the oldest first
	rotations int
	sizes     map[int]bool // of rotated files: no two are alike, so that isSent knows which is which
	lines     [2]int       // by output
}

// writeSome writes n lines, some of them in parts, between which may be lines of the other output.
func (c *podContainer) writeSome(n int) error {
	for range n {
		stream := rand.IntN(2)
		line := load.Append(nil, c.source+stream, c.lines[stream])
		c.lines[stream]++
		line = line[:len(line)-1]
		for rand.IntN(4) == 0 && len(line) > 1 {
			at := 1 + rand.IntN(len(line)-1)
			if err := c.write(stream, line[:at], true); err != nil {
				return err
			}
			line = line[at:]
			if rand.IntN(2) == 0 {
				other := load.Append(nil, c.source+1-stream, c.lines[1-stream])
				c.lines[1-stream]++
				if err := c.write(1-stream, other[:len(other)-1], false); err != nil {
					return err
				}
			}
		}
		if err := c.write(stream, line, false); err != nil {
			return err
		}
	}
	return nil
}

// write writes a record.
func (c *podContainer) write(stream int, text []byte, open bool) error {
	if c.file == nil || c.size >= c.Full && !c.sizes[c.size] {
		if err := c.rotate(); err != nil {
			return err
		}
	}
	n, err := c.file.Write(c.record(stream, text, open))
	c.size += n
	return err
}

func (c *podContainer) record(stream int, text []byte, open bool) []byte {
	name, at := []string{"stdout", "stderr"}[stream], time.Now().UTC().Format(time.RFC3339Nano)
	if c.Docker {
		if !open {
			text = append(text, '\n')
		}
		quoted, _ := json.Marshal(string(text)) // a string: this cannot fail
		return fmt.Appendf(nil, "{\"log\":%s,\"stream\":%q,\"time\":%q}\n", quoted, name, at)
	}
	tag := "F"
	if open {
		tag = "P"
	}
	return fmt.Appendf(nil, "%s %s %s %s\n", at, name, tag, text)
}

// rotate begins a file; what the last one is then called is up to the runtime.
func (c *podContainer) rotate() error {
	path := filepath.Join(c.dir, c.name)
	if c.file != nil {
		c.sizes[c.size] = true
		c.file.Close()
		rename := c.renamePod
		if c.Docker {
			rename = c.renameDocker
		}
		if err := rename(path); err != nil {
			return err
		}
	}
	var err error
	c.size = 0
	c.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	return err
}

// renamePod does what the kubelet does: it compresses the files that were rotated before, and
// appends the time to the name of this one. It does not wait until a file was sent; here what a
// dead agent could not have sent must not be lost.
func (c *podContainer) renamePod(path string) error {
	for len(c.rotated) > 0 && c.isSent(c.rotated[0]) {
		old := c.rotated[0]
		if err := os.WriteFile(old+".tmp", []byte("\x1f\x8b compressed"), 0o640); err != nil {
			return err
		}
		if err := errors.Join(os.Rename(old+".tmp", old+".gz"), os.Remove(old)); err != nil {
			return err
		}
		c.rotated = c.rotated[1:]
	}
	c.rotations++
	to := fmt.Sprintf("%s.20260101-%06d", path, c.rotations)
	c.rotated = append(c.rotated, to)
	return os.Rename(path, to)
}

// renameDocker does what Docker does with max-file = 3, except that it waits until the oldest
// file was sent.
func (c *podContainer) renameDocker(path string) error {
	numbered := func(i int) string { return fmt.Sprintf("%s.%d", path, i) }
	last := 2
	for !c.isSent(numbered(last)) {
		last++
	}
	for i := last; i > 1; i-- {
		if err := os.Rename(numbered(i-1), numbered(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Rename(path, numbered(1))
}

// isSent reports whether a file is in the log, or not there.
func (c *podContainer) isSent(path string) bool {
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return false
	}
	seen, behind := c.sent(c.dir, func(f rig.FileStatus) bool { return f.Size == fi.Size() })
	return seen > 0 && behind == 0
}
