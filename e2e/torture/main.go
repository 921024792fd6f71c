// Command torture lives through the worst days of a log many times over, and
// fails if a single line was lost, doubled, torn or reordered.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"fanin/e2e/rig"
	"fanin/e2e/scenario"
)

func main() {
	kills := flag.Int("kills", 200, "kill -9 of the collector, and as many of the agent; half as many of both")
	cuts := flag.Int("cuts", 100, "power cuts (as root)")
	period := flag.Duration("for", 0, "instead: a mixed slice, about this long")
	only := flag.String("only", "", "only the scenario with this name")
	flag.Parse()
	if err := run(*kills, *cuts, *period, *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// trial is a scenario and how often to live through it.
type trial struct {
	name   string
	rounds int
	play   func(p *scenario.Programs, n int) (*scenario.Result, error)
}

func trials(kills, cuts int) []trial {
	kill := func(name, sync string, collector, agent bool) func(*scenario.Programs, int) (*scenario.Result, error) {
		return func(p *scenario.Programs, n int) (*scenario.Result, error) {
			return p.Kills(name, sync, n, collector, agent)
		}
	}
	cut := func(options string) func(*scenario.Programs, int) (*scenario.Result, error) {
		return func(p *scenario.Programs, n int) (*scenario.Result, error) { return p.PowerCuts(n, options) }
	}
	return []trial{
		{"collector", kills / 2, kill("kill collector, commit", "commit", true, false)},
		{"collector-none", kills - kills/2, kill("kill collector, none", "none", true, false)},
		{"agent", kills, kill("kill agent", "commit", false, true)},
		{"both", kills / 2, kill("kill both", "commit", true, true)},
		{"hang", kills / 4, (*scenario.Programs).Hangs},
		{"rotate", kills * 2, (*scenario.Programs).Rotations},
		{"moved", kills / 2, (*scenario.Programs).Interference},
		{"cut", cuts - cuts/2, cut("")},
		{"cut-writeback", cuts / 2, cut(",data=writeback,noauto_da_alloc")},
	}
}

func run(kills, cuts int, period time.Duration, only string) error {
	dir, err := os.MkdirTemp("", "fanin-torture-")
	if err != nil {
		return err
	}
	p := &scenario.Programs{Dir: dir}
	if p.Collector, p.Agent, err = rig.Build(dir); err != nil {
		return err
	}
	slice := period > 0
	if slice {
		kills, cuts = 8, 4 // a round of all of them, again until the time is over
	}
	var failed []error
	for begun := time.Now(); ; {
		for _, t := range trials(kills, cuts) {
			if only != "" && only != t.name || slice && time.Since(begun) > period {
				continue
			}
			r, err := t.play(p, max(1, t.rounds))
			switch {
			case errors.Is(err, scenario.ErrUnable):
				fmt.Printf("%-22s SKIPPED: %v\n", t.name, err)
			case err != nil:
				fmt.Printf("%-22s FAILED\n", t.name)
				failed = append(failed, err)
			default:
				fmt.Println(r)
			}
		}
		if !slice || time.Since(begun) > period {
			break
		}
	}
	if len(failed) == 0 {
		return os.RemoveAll(dir)
	}
	return errors.Join(failed...)
}
