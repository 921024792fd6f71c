package scenario

import (
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"
)

// Kills kills the collector, the agent or both, n times at random moments under
// load. The agent's state is deleted at some of its kills.
func (p *Programs) Kills(name, sync string, n int, collector, agent bool) (*Result, error) {
	d, err := p.begin(plan{name: name, log: rotating + "sync = \"" + sync + "\"\n"})
	if err != nil {
		return nil, err
	}
	return d.rounds(n, func(int) error {
		moment(150 * time.Millisecond)
		return d.killOnce(collector, agent)
	})
}

// rounds plays a round n times, and ends the day.
func (d *day) rounds(n int, round func(i int) error) (*Result, error) {
	for i := range n {
		if err := round(i); err != nil {
			d.fail(err)
			break
		}
	}
	return d.end(n)
}

func (d *day) killOnce(collector, agent bool) error {
	var both sync.WaitGroup
	if agent {
		both.Go(d.agent.Kill)
	}
	if collector {
		both.Go(d.collector.Kill)
	}
	both.Wait()
	if agent && rand.IntN(4) == 0 {
		if err := os.RemoveAll(d.agent.State); err != nil {
			return err
		}
	}
	if collector {
		if err := d.collector.Start(); err != nil {
			return err
		}
	}
	if agent {
		return d.agent.Start()
	}
	return nil
}

// CopyTruncate kills the agent while its sources are rotated by copying and
// truncating them, some of them while it is away. Its state is deleted at some.
func (p *Programs) CopyTruncate(n int) (*Result, error) {
	d, err := p.begin(plan{name: "copytruncate, kill agent", log: rotating, rotate: 9000, copyTruncate: true})
	if err != nil {
		return nil, err
	}
	return d.rounds(n, func(i int) error {
		moment(150 * time.Millisecond)
		d.agent.Kill()
		moment(150 * time.Millisecond)
		if i%4 == 3 {
			if err := os.RemoveAll(d.agent.State); err != nil {
				return err
			}
		}
		return d.agent.Start()
	})
}

// Hangs stops the collector's breath for a while, and then kills one side.
func (p *Programs) Hangs(n int) (*Result, error) {
	d, err := p.begin(plan{name: "hang, then kill", log: rotating})
	if err != nil {
		return nil, err
	}
	return d.rounds(n, func(i int) error {
		moment(100 * time.Millisecond)
		d.collector.Pause()
		moment(300 * time.Millisecond)
		err := d.killOnce(i%2 == 0, i%2 == 1)
		d.collector.Signal(syscall.SIGCONT)
		return err
	})
}

// Away leaves the collector down while the sources rotate, several times each
// while; the agent is down for a part of it too, at some of them.
func (p *Programs) Away(n int) (*Result, error) {
	d, err := p.begin(plan{name: "collector away", log: rotating, rotate: 3000})
	if err != nil {
		return nil, err
	}
	return d.rounds(n, func(i int) error {
		moment(100 * time.Millisecond)
		d.collector.Kill()
		if i%3 == 2 {
			d.agent.Kill()
		}
		moment(300 * time.Millisecond)
		if i%3 == 2 {
			if err := d.agent.Start(); err != nil {
				return err
			}
			moment(100 * time.Millisecond)
		}
		return d.collector.Start()
	})
}

// Rotations asks for a rotation all the time, from several sides at once: many
// in one millisecond.
func (p *Programs) Rotations(n int) (*Result, error) {
	d, err := p.begin(plan{name: "rotation on demand", log: "rotate_size = \"64KiB\"\nkeep_bytes = \"off\"\n"})
	if err != nil {
		return nil, err
	}
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for range max(1, n/4) {
				if err := d.collector.Ask("POST", "/rotate", nil); err != nil {
					d.fail(err)
					return
				}
			}
		})
	}
	askers.Wait()
	return d.end(n)
}
