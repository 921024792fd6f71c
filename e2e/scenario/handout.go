package scenario

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"fanin/e2e/check"
	"fanin/e2e/rig"
	"fanin/sink/distribute"
)

// gang is the workers of one group. Each life of a worker has a ledger of its own.
type gang struct {
	group, key string
	dir, addr  string
	program    string
	workers    []*rig.Process
	ledgers    []string
	more       []string // arguments of each
}

// gangSize is how many workers a group has.
const gangSize = 3

// start starts worker i, with a new ledger.
func (g *gang) start(i int) error {
	ledger := filepath.Join(g.dir, fmt.Sprintf("%s-%d.ledger", g.group, len(g.ledgers)))
	g.ledgers = append(g.ledgers, ledger)
	g.workers[i] = &rig.Process{Path: g.program, Wait: "working",
		Args: append([]string{"-connect", g.addr, "-group", g.group, "-key", g.key, "-ledger", ledger, "-lease", "1s"}, g.more...)}
	return g.workers[i].Start()
}

// HandOut kills workers, the collector, and both, while two groups work, one of
// them in the order of its keys, and the log rotates, compresses and removes
// files. Every line ends with one accepted answer or among the dead letters.
func (p *Programs) HandOut(n int) (*Result, error) {
	port, err := rig.FreePort()
	if err != nil {
		return nil, err
	}
	program, err := p.ledgerWorker()
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	dir, err := os.MkdirTemp(p.Dir, "ledgers-")
	if err != nil {
		return nil, err
	}
	gangs := []*gang{{group: "free"}, {group: "keyed", key: "source"}}
	begin := func() error { // so that the groups are there before the first line
		for _, g := range gangs {
			g.dir, g.addr, g.program, g.workers = dir, addr, program, make([]*rig.Process, gangSize)
			for i := range g.workers {
				if err := g.start(i); err != nil {
					return err
				}
			}
		}
		return nil
	}
	d, err := p.begin(plan{name: "hand out, kill", retention: true, slow: true, before: begin,
		log: "rotate_size = \"128KiB\"\nkeep_files = 3\n[collector.work]\nlisten = \"" + addr + "\"\nretry = \"2ms\"\nattempts = 4\nkeep_for_groups = \"10GiB\"\n"})
	if err != nil {
		return nil, err
	}
	d.endTail()
	for range n {
		moment(100 * time.Millisecond)
		if err := d.strike(gangs); err != nil {
			d.fail(err)
			break
		}
	}
	return d.settleHandOut(n, gangs)
}

// ledgerWorker builds the worker that keeps a ledger.
func (p *Programs) ledgerWorker() (program string, err error) {
	program = filepath.Join(p.Dir, "ledgerworker")
	c := exec.Command("go", "build", "-o", program, "fanin/e2e/ledgerworker")
	c.Dir = rig.Root()
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the worker: %w\n%s", err, out)
	}
	return program, nil
}

// strike kills a worker, the collector, or a worker of each group and the
// collector, and starts what it killed again.
func (d *day) strike(gangs []*gang) error {
	what := rand.IntN(3)
	var all sync.WaitGroup
	if what != 0 {
		all.Go(d.collector.Kill)
	}
	struck := make([]int, len(gangs))
	for i, g := range gangs {
		struck[i] = rand.IntN(gangSize)
		if what != 1 {
			all.Go(g.workers[struck[i]].Kill)
		}
	}
	all.Wait()
	if what != 0 {
		if err := d.collector.Start(); err != nil {
			return err
		}
	}
	for i, g := range gangs {
		if what != 1 {
			if err := g.start(struck[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// settleHandOut lets the groups finish, and holds their ledgers against what was sent.
func (d *day) settleHandOut(rounds int, gangs []*gang) (*Result, error) {
	close(d.stop)
	d.writing.Wait()
	d.stop = make(chan struct{}) // end closes it again
	written, kept := d.sent()
	errs := []error{d.err}
	if d.err == nil {
		errs = append(errs, d.agent.Drained(d.files(written), time.Minute), d.finished(gangs, 2*time.Minute))
	}
	for _, g := range gangs {
		for _, w := range g.workers {
			w.Stop()
		}
	}
	for src, n := range written {
		if _, some := kept[src]; !some {
			kept[src] = n
		}
	}
	reports := make(map[string]string)
	if errors.Join(errs...) == nil {
		for _, g := range gangs {
			h := check.HandOut{Ledgers: g.ledgers, Kept: kept, Ordered: g.key != "", Dead: []string{filepath.Join(d.collector.State, "work", "dead-"+g.group+".jsonl")}}
			r, err := h.Check()
			if err != nil {
				errs = append(errs, err)
				continue
			}
			reports[g.group] = r.String()
			if !r.OK() || r.Dead == 0 || r.Accepted == 0 {
				errs = append(errs, fmt.Errorf("group %s: %s\n%q", g.group, r, r.First))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		d.fail(err)
	}
	r, err := d.end(rounds)
	if err == nil {
		os.RemoveAll(gangs[0].dir)
		for group, report := range reports {
			fmt.Fprintf(os.Stderr, "%-26s %s\n", "group "+group, report)
		}
	}
	return r, err
}

// finished waits until the groups have nothing left to do.
func (d *day) finished(gangs []*gang, patience time.Duration) error {
	var groups []distribute.GroupStatus
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err := d.collector.Ask("GET", "/groups", &groups); err != nil {
			return err
		}
		done := len(groups) == len(gangs)
		for _, g := range groups {
			done = done && g.LagLines == 0
			if g.Expired > 0 {
				return fmt.Errorf("group %s: %d lines expired, and it was to be waited for", g.Group, g.Expired)
			}
		}
		if done {
			return nil
		}
	}
	return fmt.Errorf("the groups are not done: %+v", groups)
}
