package scenario

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
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
	return p.powerCuts(plan{name: name}, n, options)
}

// ChainPowerCuts is PowerCuts with two batches of a stream on their way.
func (p *Programs) ChainPowerCuts(n int) (*Result, error) {
	return p.powerCuts(plan{name: "chains, power cut", text: inChains}, n, "")
}

func (p *Programs) powerCuts(pl plan, n int, options string) (*Result, error) {
	return p.onCutDisk(options, func(c *cutDisk) (*Result, error) {
		pl.logDir, pl.log = filepath.Join(c.dir, "log"), rotating
		d, err := p.begin(pl)
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
			err := c.crash(func() {
				d.collector.Pause()
				d.watcher.Pause()
			}, d.collector.Kill)
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
			return errors.Join(c.crash(d.agent.Pause, d.agent.Kill), d.agent.Start())
		})
	})
}

// PipeCuts cuts the power of the disk that agents which read pipes spool on, n times. In some
// rounds the collector is away, so all that was taken is on that disk; in others the agents were
// killed before, and later runs may have believed what was in the page cache only. Of each pipe
// the log has all lines up to some place, behind what was taken.
func (p *Programs) PipeCuts(n int) (*Result, error) {
	return p.onCutDisk("", func(c *cutDisk) (*Result, error) {
		d, err := p.begin(plan{name: "power cuts, pipes", few: true, log: rotating})
		if err != nil {
			return nil, err
		}
		x := newPipes(p.Agent, d.collector.Addr, filepath.Join(c.dir, "state"))
		d.pipes = x
		for round := 0; round < n && d.err == nil; round++ {
			d.fail(d.pipeCut(c, round))
		}
		d.fail(x.settle())
		d.fail(d.checkPipes())
		return d.end(n)
	})
}

// pipeCut is one round.
func (d *day) pipeCut(c *cutDisk, round int) error {
	const atOnce, lines = 4, 400_000
	if round%2 == 1 {
		d.collector.Kill()
	}
	var all sync.WaitGroup
	start := func() {
		begun := d.pipes.begun.Load()
		for range atOnce {
			all.Go(func() { d.fail(d.pipes.run(false, lines)) })
		}
		for d.pipes.begun.Load() < begun+atOnce { // all have to be stopped before the cut
			moment(time.Millisecond)
		}
		moment(400 * time.Millisecond)
	}
	start()
	if round%3 == 2 {
		d.pipes.kill()
		all.Wait()
		start()
	}
	err := c.crash(d.pipes.pause, func() {
		d.pipes.kill()
		all.Wait()
	})
	if round%2 == 1 {
		err = errors.Join(err, d.collector.Start())
	}
	return err
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
