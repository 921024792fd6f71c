package e2e

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"fanin/e2e/rig"
	"fanin/e2e/scenario"
)

// programs are built once for all tests.
var programs scenario.Programs

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fanin-e2e-")
	if err == nil {
		programs.Dir = dir
		programs.Collector, programs.Agent, err = rig.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// TestWorstDays lives a little of each through; make torture does it often.
func TestWorstDays(t *testing.T) {
	f := func(name string, play func() (*scenario.Result, error)) {
		t.Run(name, func(t *testing.T) {
			r, err := play()
			if errors.Is(err, scenario.ErrUnable) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.Lines == 0 {
				t.Fatal("no line arrived: nothing was tested")
			}
			t.Log(r)
		})
	}
	p := &programs
	f("kill the collector, sync commit", func() (*scenario.Result, error) { return p.Kills("", "commit", 8, true, false) })
	f("kill the collector, sync none", func() (*scenario.Result, error) { return p.Kills("", "none", 8, true, false) })
	f("kill the agent", func() (*scenario.Result, error) { return p.Kills("", "commit", 10, false, true) })
	f("kill both", func() (*scenario.Result, error) { return p.Kills("", "commit", 5, true, true) })
	f("hang, then kill", func() (*scenario.Result, error) { return p.Hangs(4) })
	f("collector away", func() (*scenario.Result, error) { return p.Away(4) })
	f("copytruncate, kill the agent", func() (*scenario.Result, error) { return p.CopyTruncate(8) })
	f("logrotate", func() (*scenario.Result, error) { return p.Logrotate(20) })
	f("rotations on demand", func() (*scenario.Result, error) { return p.Rotations(60) })
	f("live file moved away", func() (*scenario.Result, error) { return p.Interference(6) })
	f("live file destroyed", func() (*scenario.Result, error) { return p.Destruction(8) })
	f("backup names taken", func() (*scenario.Result, error) { return p.NamesTaken(2) })
	f("lines handed out, workers and collector killed", func() (*scenario.Result, error) { return p.HandOut(12) })
	f("lines from redis, redis and collector killed", func() (*scenario.Result, error) { return p.RedisIn(6) })
	f("lines carried to redis, redis and collector killed", func() (*scenario.Result, error) { return p.RedisOut(6) })
	f("pipes, their agents, the agent and the collector killed", func() (*scenario.Result, error) { return p.Pipes(4) })
	f("read-only directory", func() (*scenario.Result, error) { return p.ReadOnly(2) })
	f("descriptors exhausted", func() (*scenario.Result, error) { return p.NoDescriptors(2) })
	f("state deleted", func() (*scenario.Result, error) { return p.StateDeleted(2) })
	f("state restored", func() (*scenario.Result, error) { return p.StateRestored(2) })
	f("log deleted", func() (*scenario.Result, error) { return p.LogDeleted(2) })
	f("power cuts", func() (*scenario.Result, error) { return p.PowerCuts(4, "") })
	f("chains, agent and collector killed", func() (*scenario.Result, error) { return p.ChainKills(10) })
	f("chains, network cut", func() (*scenario.Result, error) { return p.ChainCuts(10) })
	f("chains, power cuts", func() (*scenario.Result, error) { return p.ChainPowerCuts(3) })
	for i, day := range scenario.RelayDays() {
		f(day.Name, func() (*scenario.Result, error) { return p.Relays(day, []int{10, 3, 3, 3}[i]) })
	}
	for _, day := range scenario.NATSChainDays() {
		f(day.Name, func() (*scenario.Result, error) { return p.OverNATS(day, 4) })
	}
	for _, day := range scenario.NATSDays() {
		f(day.Name, func() (*scenario.Result, error) { return p.OverNATS(day, 2) })
	}
	f("a fleet over NATS", func() (*scenario.Result, error) { return p.Fleet(1) })
	f("Redis channel, overload", func() (*scenario.Result, error) { return p.RedisOverload(2) })
	f("ZeroMQ SUB, overload", func() (*scenario.Result, error) { return p.ZMQOverload(2) })
	f("ZeroMQ PUB, overload", func() (*scenario.Result, error) { return p.PubOverload(2) })
	f("records of several lines, agent and collector killed", func() (*scenario.Result, error) { return p.RecordKills(8) })
	f("lines in UTF-16, agent and collector killed", func() (*scenario.Result, error) { return p.WideKills(8) })
	f("records in UTF-16, copied and truncated, agent and collector killed", func() (*scenario.Result, error) { return p.WideRecordKills(6) })
	f("sockets, their agent killed and stopped", func() (*scenario.Result, error) { return p.Sockets(4) })
	f("a journal, all killed", func() (*scenario.Result, error) { return p.JournalKills(12) })
	f("pods, the agent killed", func() (*scenario.Result, error) { return scenario.Nodes(false)(p, 6) })
	f("Docker's containers, the agent killed", func() (*scenario.Result, error) { return scenario.Nodes(true)(p, 6) })
	f("power cuts, agent", func() (*scenario.Result, error) { return p.AgentCuts(3) })
}
