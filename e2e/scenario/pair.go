package scenario

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanin/e2e/check"
	"fanin/e2e/rig"
)

// pair starts a collector and an agent with these tables of sources, in dir.
func (p *Programs) pair(dir, sources string) (*rig.Collector, *rig.Agent, error) {
	collector, err := rig.NewCollector(p.Collector, dir, filepath.Join(dir, "log"), rotating)
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(filepath.Dir(collector.Log), 0o750); err != nil {
		return nil, nil, err
	}
	agent := &rig.Agent{State: filepath.Join(dir, "agent")}
	config := filepath.Join(dir, "agent.toml")
	text := fmt.Sprintf("[agent]\nid = \"box\"\nstate = %q\nto = [%q]\n%s", agent.State, "tcp://"+collector.Addr, sources)
	if err := os.WriteFile(config, []byte(text), 0o640); err != nil {
		return nil, nil, err
	}
	agent.Process = rig.Process{Path: p.Agent, Args: []string{"--config", config}}
	return collector, agent, errors.Join(collector.Start(), agent.Start())
}

// endPair waits until everything is in the log, or until it has not grown for a minute: with a
// journal, each start reads much again, and the rest may be large. It stops both, and checks it.
func endPair(name string, rounds int, collector *rig.Collector, agent *rig.Agent, written map[int]int) (*Result, error) {
	lines := 0
	for _, n := range written {
		lines += n
	}
	r := &Result{Name: name, Rounds: rounds}
	there, grown := 0, time.Now()
	for ; there < lines && time.Since(grown) < time.Minute; time.Sleep(200 * time.Millisecond) {
		c, err := check.Log(collector.Log, collector.State, written)
		if err == nil && c.Lines > there {
			there, grown = c.Lines, time.Now()
		}
	}
	code, err := agent.Stop()
	if err == nil && code != 0 {
		err = fmt.Errorf("the agent's exit code is %d:\n%s", code, agent.Output())
	}
	if _, cerr := collector.Stop(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	checked, err := check.Log(collector.Log, collector.State, written)
	if err != nil {
		return nil, err
	}
	if r.Result = *checked; !r.OK() {
		return nil, fmt.Errorf("%s: %s\n%s\nthe agent said last:\n%s", r.Name, r, strings.Join(r.First, "\n"),
			lastOf(agent.Output()))
	}
	return r, collector.Verify()
}
