package disk

import (
	"io/fs"
	"os"
)

// WriteTried writes a file with exactly this mode, after try has accepted it under another name:
// path is only touched when the new content is whole, durable and good. Without replace, there
// must be no file yet; the error is fs.ErrExist. With it, the owner and the group stay, as far as this
// process may set them: a service must be able to read on what root changes.
func (d *Disk) WriteTried(path string, data []byte, mode fs.FileMode, replace bool, try func(path string) error) error {
	trial := path + ".try"
	if err := d.WriteFile(trial, data, mode); err != nil {
		return err
	}
	defer os.Remove(trial) // after the rename it is gone
	if replace {
		if err := d.ownAs(trial, path); err != nil {
			return err
		}
	}
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

// ownAs gives a file the owner and the group of another one, if that is there.
func (d *Disk) ownAs(path, like string) error {
	fi, err := os.Stat(like)
	if err != nil {
		return nil
	}
	f, err := d.Open(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.OwnAs(fi)
}
