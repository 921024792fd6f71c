package scenario

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// PowerCuts cuts the power of the disk that the collector's log and state are
// on, n times; before some cuts the collector is killed and started again, so
// that it may have believed what was in the page cache only. What a reader saw
// before a cut is there after it too.
func (p *Programs) PowerCuts(n int, options string) (*Result, error) {
	name := "power cuts"
	if options != "" {
		name += ", " + options
	}
	return p.onCutDisk(options, func(c *cutDisk) (*Result, error) {
		d, err := p.begin(plan{name: name, logDir: filepath.Join(c.dir, "log"), log: rotating})
		if err != nil {
			return nil, err
		}
		d.endTail() // it would keep files open, and the disk from being unmounted
		return d.rounds(n, func(i int) error {
			moment(400 * time.Millisecond)
			if i%3 == 2 {
				d.collector.Kill()
				if err := d.collector.Start(); err != nil {
					return err
				}
			}
			err := c.crash(&d.collector.Process, d.watcher.Pause)
			err = errors.Join(err, d.collector.Start())
			d.watcher.Go()
			return err
		})
	})
}

// AgentCuts cuts the power of the disk that the agent's state is on: what the
// agent knows may then be older than what it was told.
func (p *Programs) AgentCuts(n int) (*Result, error) {
	return p.onCutDisk("", func(c *cutDisk) (*Result, error) {
		d, err := p.begin(plan{name: "power cuts, agent", agentDir: c.dir, log: rotating})
		if err != nil {
			return nil, err
		}
		return d.rounds(n, func(i int) error {
			moment(400 * time.Millisecond)
			if i%3 == 2 {
				if err := d.killOnce(true, true); err != nil {
					return err
				}
			}
			return errors.Join(c.crash(&d.agent.Process, func() {}), d.agent.Start())
		})
	})
}

// onCutDisk plays with a disk that it makes for it.
func (p *Programs) onCutDisk(options string, play func(c *cutDisk) (*Result, error)) (*Result, error) {
	dir, err := os.MkdirTemp(p.Dir, "cut-")
	if err != nil {
		return nil, err
	}
	c, err := newCutDisk(dir, options)
	if err != nil {
		return nil, err
	}
	defer c.unmount()
	r, err := play(c)
	if err == nil {
		c.unmount()
		os.RemoveAll(dir)
	} else if !errors.Is(err, ErrUnable) {
		err = fmt.Errorf("%w\nthe disk is kept: %s", err, c.image)
	}
	return r, err
}
