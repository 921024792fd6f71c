package disk

import (
	"io/fs"
	"os"
)

// WriteTried writes a file with exactly this mode, after try has accepted it under another name:
// path is only touched when the new content is whole, durable and good. Without replace, there
// must be no file yet; the error is fs.ErrExist.
func (d *Disk) WriteTried(path string, data []byte, mode fs.FileMode, replace bool, try func(path string) error) error {
	trial := path + ".try"
	if err := d.WriteFile(trial, data, mode); err != nil {
		return err
	}
	defer os.Remove(trial) // after the rename it is gone
	if err := os.Chmod(trial, mode); err != nil {
		return err
	}
	if err := try(trial); err != nil {
		return err
	}
	if replace {
		return d.Rename(trial, path)
	}
	return d.RenameNew(trial, path)
}
