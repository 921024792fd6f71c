package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// ready brings the machine into the same state before each trial. What the trial
// before left is on the disk. The memory that files will lie in was touched just
// now: a virtual machine's host takes free memory away within seconds, and who
// needs it then pays several times over, which was this one or that one by chance.
func (b *bench) ready() error {
	syscall.Sync()
	path := filepath.Join(b.dir, "touch")
	defer os.Remove(path)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	chunk := make([]byte, 1<<20)
	for left := newBlock(0).size(b.lines) * 3 / 2; left > 0; left -= int64(len(chunk)) {
		if _, err := f.Write(chunk); err != nil {
			return fmt.Errorf("touch memory: %w", err)
		}
	}
	return nil
}

// cached reads a file, so that who follows it reads from memory.
func cached(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}
