package scenario

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// cutDisk is a file system on a loop device whose power can be cut: what was
// not synced is then gone, as it would be.
type cutDisk struct {
	image, dir, options string
	mounted             bool
}

// newCutDisk makes and mounts one in dir. Options are ext4's.
func newCutDisk(dir, options string) (*cutDisk, error) {
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("%w: power cuts need root and loop devices, to mount a file system: run as root", ErrUnable)
	}
	c := &cutDisk{image: filepath.Join(dir, "disk.img"), dir: filepath.Join(dir, "disk"), options: options}
	if err := os.MkdirAll(c.dir, 0o750); err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"truncate", "-s", "2G", c.image}, {"mkfs.ext4", "-q", "-F", c.image}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %v: %v: %s", ErrUnable, args, err, out)
		}
	}
	if err := c.mount(); err != nil {
		return nil, fmt.Errorf("%w: loop mount: %v", ErrUnable, err)
	}
	return c, nil
}

func (c *cutDisk) mount() error {
	options := "loop"
	if c.options != "" {
		options += "," + c.options
	}
	if out, err := exec.Command("mount", "-o", options, c.image, c.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w: %s", err, out)
	}
	c.mounted = true
	return nil
}

// unmount does nothing when it is not mounted.
func (c *cutDisk) unmount() error {
	if !c.mounted {
		return nil
	}
	var err error
	for range 100 {
		var out []byte
		if out, err = exec.Command("umount", c.dir).CombinedOutput(); err == nil {
			c.mounted = false
			return nil
		}
		err = fmt.Errorf("umount: %w: %s", err, out)
		time.Sleep(20 * time.Millisecond) // the kernel lets go of a killed process's files a little later
	}
	return err
}

// crash cuts the power under programs: first they are stopped, because a sync under
// way could otherwise come back well from a disk that is gone; then everything
// that was not synced is dropped, journal included; then the programs are killed
// and the disk comes back.
func (c *cutDisk) crash(pause, kill func()) error {
	pause()
	if err := c.cut(); err != nil {
		return fmt.Errorf("%w: cut the power of %s: %v", ErrUnable, c.dir, err)
	}
	kill()
	return errors.Join(c.unmount(), c.mount())
}

// cut is the ioctl EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.
func (c *cutDisk) cut() error {
	f, err := os.Open(c.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	const shutdown, noLogFlush = 0x8004587d, 2
	return unix.IoctlSetPointerInt(int(f.Fd()), shutdown, noLogFlush)
}
