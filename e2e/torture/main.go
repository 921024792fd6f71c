// Command torture lives through the worst days of a log many times over, and
// fails if a single line was lost, doubled, torn or reordered, or if a byte that
// a reader saw has changed. It fails as well where a day cannot be played on this
// machine, such as power cuts without root.
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
	cuts := flag.Int("cuts", 100, "power cuts, which need root and loop devices: without them the run fails")
	period := flag.Duration("for", 0, "instead: a mixed slice, about this long")
	only := flag.String("only", "", "only the trial with this name; \"list\" lists them")
	flag.Parse()
	if *only == "list" {
		for _, t := range trials(*kills, *cuts) {
			fmt.Printf("%-16s %4d rounds\n", t.name, t.rounds)
		}
		return
	}
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
	list := []trial{
		{"collector", kills / 2, kill("kill collector, commit", "commit", true, false)},
		{"cut", cuts - 2*(cuts/4), cut("")},
		{"agent", kills, kill("kill agent", "commit", false, true)},
		{"both", kills / 2, kill("kill both", "commit", true, true)},
		{"collector-none", kills - kills/2, kill("kill collector, none", "none", true, false)},
		{"hang", kills / 4, (*scenario.Programs).Hangs},
		{"away", kills / 4, (*scenario.Programs).Away},
		{"copytruncate", kills / 2, (*scenario.Programs).CopyTruncate},
		{"logrotate", kills, (*scenario.Programs).Logrotate},
		{"rotate", kills * 2, (*scenario.Programs).Rotations},
		{"moved", kills / 2, (*scenario.Programs).Interference},
		{"destroyed", kills / 2, (*scenario.Programs).Destruction},
		{"names", kills / 10, (*scenario.Programs).NamesTaken},
		{"read-only", kills / 10, (*scenario.Programs).ReadOnly},
		{"descriptors", kills / 10, (*scenario.Programs).NoDescriptors},
		{"state-deleted", kills / 10, (*scenario.Programs).StateDeleted},
		{"state-restored", kills / 10, (*scenario.Programs).StateRestored},
		{"log-deleted", kills / 10, (*scenario.Programs).LogDeleted},
		{"hand-out", kills * 8, (*scenario.Programs).HandOut},
		{"redis-out", kills / 2, (*scenario.Programs).RedisOut},
		{"redis-in", kills / 2, (*scenario.Programs).RedisIn},
		{"relp", kills / 10, (*scenario.Programs).RELP},
		{"relp-client", kills / 20, (*scenario.Programs).RELPClient},
		{"records", kills, (*scenario.Programs).RecordKills},
		{"utf-16", kills, (*scenario.Programs).WideKills},
		{"utf-16-records", kills / 2, (*scenario.Programs).WideRecordKills},
		{"numbers", kills, scenario.NumberKills("")},
		{"utf-16-numbers", kills / 2, scenario.NumberKills("utf-16")},
		{"records-numbers", kills / 2, scenario.NumberKills("records")},
		{"journal", kills, (*scenario.Programs).JournalKills},
		{"pods", kills, scenario.Nodes(false)},
		{"docker", kills, scenario.Nodes(true)},
		{"daemon-set", kills / 20, scenario.DaemonSet},
		{"pipes", kills / 10, (*scenario.Programs).Pipes},
		{"sockets", kills, (*scenario.Programs).Sockets},
		{"crowd", kills / 20, (*scenario.Programs).CrowdKills},
		{"cluster-lost-disks", kills / 10, scenario.ClusterLostDisks(scenario.WholeCluster)},
		{"cluster-pauses", kills, scenario.ClusterPauses(scenario.WholeCluster)},
		{"cluster", kills + kills/2, scenario.ClusterFaults(scenario.WholeCluster)},
		{"cluster-splits", cuts, scenario.ClusterSplits(scenario.WholeCluster)},
		{"cluster-moves", cuts, scenario.ClusterMoves(scenario.WholeCluster)},
		{"chain", kills / 2, (*scenario.Programs).ChainKills},
		{"chain-network", cuts, (*scenario.Programs).ChainCuts},
		{"chain-cut", cuts / 2, (*scenario.Programs).ChainPowerCuts},
		{"cut-writeback", cuts / 4, cut("data=writeback,noauto_da_alloc")},
		{"cut-agent", cuts / 4, (*scenario.Programs).AgentCuts},
		{"cut-pipes", cuts / 2, (*scenario.Programs).PipeCuts},
	}
	for _, day := range scenario.RelayDays() {
		list = append(list, trial{day.Name, kills + kills/2, func(p *scenario.Programs, n int) (*scenario.Result, error) { return p.Relays(day, n) }})
	}
	for _, day := range scenario.NATSChainDays() {
		list = append(list, trial{day.Name, kills / 2, func(p *scenario.Programs, n int) (*scenario.Result, error) { return p.OverNATS(day, n) }})
	}
	for _, day := range scenario.NATSDays() {
		list = append(list, trial{day.Name, kills + kills/2, func(p *scenario.Programs, n int) (*scenario.Result, error) { return p.OverNATS(day, n) }})
	}
	list = append(list, trial{"nats-away-long", kills / 200, func(p *scenario.Programs, n int) (*scenario.Result, error) { return p.OverNATS(scenario.LongAway(), n) }})
	list = append(list, trial{"redis-overload", kills / 20, (*scenario.Programs).RedisOverload},
		trial{"zmq-overload", kills / 20, (*scenario.Programs).ZMQOverload},
		trial{"zmq-pub-overload", kills / 20, (*scenario.Programs).PubOverload})
	return append(list, trial{"nats-fleet", kills / 10, (*scenario.Programs).Fleet})
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
		kills, cuts = 8, 8 // a round of all of them, again until the time is over
	}
	var failed []error
	for begun := time.Now(); ; {
		for _, t := range trials(kills, cuts) {
			if only != "" && only != t.name || slice && time.Since(begun) > period {
				continue
			}
			failed = append(failed, live(p, t))
		}
		if !slice || time.Since(begun) > period {
			break
		}
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// live lives through one trial, and prints its line.
func live(p *scenario.Programs, t trial) error {
	r, err := t.play(p, max(1, t.rounds))
	switch {
	case errors.Is(err, scenario.ErrUnable):
		fmt.Printf("%-26s NOT DONE: %v\n", t.name, err)
		return fmt.Errorf("%s: %w", t.name, err) // what was not lived through is not passed
	case err != nil && r != nil:
		fmt.Printf("%s FAILED\n", r)
	case err != nil:
		fmt.Printf("%-26s FAILED\n", t.name)
	default:
		fmt.Println(r)
	}
	return err
}
