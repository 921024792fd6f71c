package scenario

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrUnable says that this machine cannot play a scenario, and why.
var ErrUnable = errors.New("cannot be done on this machine")

// cutDisk is a file system on a loop device whose power can be cut: what was
// not synced is then gone, as it would be.
type cutDisk struct{ image, dir string }

func newCutDisk(dir, options string) (*cutDisk, error) {
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("%w: power cuts need root, to mount a file system", ErrUnable)
	}
	c := &cutDisk{image: filepath.Join(dir, "disk.img"), dir: filepath.Join(dir, "disk")}
	if err := os.MkdirAll(c.dir, 0o750); err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"truncate", "-s", "2G", c.image}, {"mkfs.ext4", "-q", "-F", c.image}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %v: %v: %s", ErrUnable, args, err, out)
		}
	}
	if err := c.mount(options); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrUnable, err)
	}
	return c, nil
}

func (c *cutDisk) mount(options string) error {
	if out, err := exec.Command("mount", "-o", "loop"+options, c.image, c.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w: %s", err, out)
	}
	return nil
}

func (c *cutDisk) unmount() error {
	var err error
	for range 50 {
		var out []byte
		if out, err = exec.Command("umount", c.dir).CombinedOutput(); err == nil {
			return nil
		}
		err = fmt.Errorf("umount: %w: %s", err, out)
		time.Sleep(20 * time.Millisecond) // the kernel lets go of a killed process's files a little later
	}
	return err
}

// cut drops everything that was not synced, journal included
// (EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH).
func (c *cutDisk) cut() error {
	f, err := os.Open(c.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	const shutdown, noLogFlush = 0x8004587d, 2
	return unix.IoctlSetPointerInt(int(f.Fd()), shutdown, noLogFlush)
}

// PowerCuts cuts the power of the disk that the collector's log and state are
// on, n times; before some cuts the collector is killed and started again, so
// that it may have believed what was in the page cache only.
func (p *Programs) PowerCuts(n int, options string) (*Result, error) {
	dir, err := os.MkdirTemp(p.Dir, "cut-")
	if err != nil {
		return nil, err
	}
	c, err := newCutDisk(dir, options)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	defer c.unmount()
	d, err := p.begin("power cuts"+options, filepath.Join(c.dir, "log"), rotating)
	if err != nil {
		return nil, err
	}
	d.watcher.Result() // what a reader saw before a cut may not have been on the disk
	for i := range n {
		moment(400 * time.Millisecond)
		if i%3 == 2 {
			d.collector.Kill()
			if err := d.collector.Start(); err != nil {
				d.fail(err)
				break
			}
		}
		d.collector.Signal(syscall.SIGSTOP) // or a sync under way could come back well from a disk that is gone
		if err := c.cut(); err != nil {
			return nil, fmt.Errorf("%w: %v", ErrUnable, err)
		}
		d.collector.Kill()
		if err := errors.Join(c.unmount(), c.mount(options)); err != nil {
			d.fail(err)
			break
		}
		if err := d.collector.Start(); err != nil {
			d.fail(err)
			break
		}
	}
	d.watcher = nil
	return d.end(n)
}
