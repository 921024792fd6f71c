package scenario

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"fanin/e2e/check"
	"fanin/e2e/rig"
)

// addWorkers starts the workers of a group, which gets the lines of each source in their order.
func (d *clusterDay) addWorkers(p *Programs) error {
	program, err := p.ledgerWorker()
	if err != nil {
		return err
	}
	d.gang = &gang{group: "keyed", key: "source", dir: d.dir, addr: d.work[0], program: program,
		workers: make([]*rig.Process, gangSize), more: []string{"-cluster"}}
	for i := range d.gang.workers {
		if err := d.gang.start(i); err != nil {
			return err
		}
	}
	return nil
}

func (d *clusterDay) killWorker() error {
	i := rand.IntN(gangSize)
	d.gang.workers[i].Kill()
	return d.gang.start(i)
}

// pauseWorker pauses a worker for less than check.HandOut allows a delivery to be noted too late.
func (d *clusterDay) pauseWorker() error {
	w := d.gang.workers[rand.IntN(gangSize)]
	w.Pause()
	moment(time.Second)
	w.Signal(syscall.SIGCONT)
	return nil
}

// handedOut waits until the workers have had all lines, and ends them: each line was accepted once, or
// is among the dead letters, and those of a source in their order.
func (d *clusterDay) handedOut(x *check.Expect, patience time.Duration) error {
	if d.gang == nil {
		return nil
	}
	h := d.handOut(x)
	finished(h, patience)
	d.endWorkers()
	r, err := h.Check()
	if err != nil {
		return err
	}
	if !r.OK() || r.Accepted == 0 {
		return fmt.Errorf("handed out: %s\n%q\n%s", r, r.First, d.said())
	}
	fmt.Fprintf(os.Stderr, "%-26s %s\n", "group "+d.gang.group, r)
	return nil
}

// finished waits until the workers have had all lines, and reports whether they have.
func finished(h *check.HandOut, patience time.Duration) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Second) {
		if r, err := h.Check(); err == nil && r.Lost == 0 {
			return true
		}
	}
	return false
}

// handOut is what the workers should have.
func (d *clusterDay) handOut(x *check.Expect) *check.HandOut {
	kept := make(map[int]int)
	for src, n := range x.Written {
		kept[src] = n
		if some, ok := x.Kept[src]; ok {
			kept[src] = some
		}
	}
	h := &check.HandOut{Kept: kept, Ordered: true, Cluster: true, Ledgers: d.gang.ledgers}
	for _, m := range d.members {
		for p := range d.Partitions {
			_, state := m.Partition(p)
			h.Dead = append(h.Dead, filepath.Join(state, "work", "dead-"+d.gang.group+".jsonl"))
		}
	}
	return h
}

func (d *clusterDay) endWorkers() {
	if d.gang == nil {
		return
	}
	for _, w := range d.gang.workers {
		if w != nil {
			w.Stop()
		}
	}
}
