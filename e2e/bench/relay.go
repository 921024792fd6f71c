package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanin/e2e/rig"
)

// relayed is the name of the workload: a log is forwarded to the subject by a collector, in the place
// of the agent of the chain.
const relayed = "relay"

// relay forwards a log with so many lines, which was written before.
func (b *bench) relay(s subject) (r sample, err error) {
	lines := b.lines / s.chain
	edge, err := b.relayLog(s, lines)
	if err != nil {
		return r, err
	}
	files, err := filepath.Glob(filepath.Join(edge, "all-*.log"))
	if err != nil || len(files) != 1 {
		return r, fmt.Errorf("the log to be forwarded is in %q: %w", files, err)
	}
	if err := cached(files[0]); err != nil {
		return r, err
	}
	s.command = adjusted(s.command, "[[collector.tcp]]\n", "[[collector.tcp]]\nrelay_names = [\"edge\"]\n")
	t, err := b.begin(s, 1)
	if err != nil {
		return r, err
	}
	defer t.stop()
	args, err := b.relayCommand(edge, t.port)
	if err != nil {
		return r, err
	}
	profiled := b.profile(t, relayed, lines)
	cpu, begun := t.cpu(), time.Now()
	relay, err := start(edge, nil, args...)
	if err != nil {
		return r, err
	}
	defer relay.stop()
	r.Seconds = t.landed(lines, newBlock(0).size(lines)).Sub(begun).Seconds()
	r.CPU, r.Peak = t.cpu()-cpu, t.memory("VmHWM")
	r.AgentCPU, r.AgentRSS = relay.cpu(), relay.memory("VmHWM")
	if err := relay.stop(); err != nil {
		return r, err
	}
	<-profiled
	return r, t.end(1, lines, &r)
}

// relayLog is the directory of a log with so many lines, which is written once, and rotated: else each
// start would count them again. What a relay of it has saved is removed.
func (b *bench) relayLog(s subject, lines int) (dir string, err error) {
	dir = filepath.Join(b.dir, fmt.Sprintf("kept-relay-%d", lines))
	os.Remove(filepath.Join(dir, "state", "relay"))
	if exists(dir) {
		return dir, nil
	}
	s.command = adjusted(s.command, "sync = ", "compress = \"none\"\nsync = ")
	file, err := b.source(lines)
	if err != nil {
		return dir, err
	}
	t, err := b.begin(s, 1)
	if err != nil {
		return dir, err
	}
	defer t.stop()
	args, env, err := s.agent(t.dir, file, t.port)
	if err != nil {
		return dir, err
	}
	agent, err := start(t.dir, env, args...)
	if err != nil {
		return dir, err
	}
	defer agent.stop()
	t.landed(lines, newBlock(0).size(lines))
	if err := agent.stop(); err != nil {
		return dir, err
	}
	if err := command(t.dir, b.collector, "rotate", "--config", "collector.toml"); err != nil {
		return dir, err
	}
	for end := time.Now().Add(time.Minute); !exists(filepath.Join(t.dir, "state", "summary-00000001")); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return dir, fmt.Errorf("the lines of %s were not counted within a minute", t.dir)
		}
	}
	if err := t.stop(); err != nil {
		return dir, err
	}
	return dir, os.Rename(t.dir, dir)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// relayCommand runs the collector of a log that forwards it to a port.
func (b *bench) relayCommand(dir string, port int) (args []string, err error) {
	own, err := rig.FreePort()
	if err != nil {
		return nil, err
	}
	args, _, err = adjusted(b.fanin("none", "compress = \"none\""), "[[collector.tcp]]\n", fmt.Sprintf("[collector.relay]\nto = [\"tcp://%s\"]\nid = \"edge\"\n"+
		"host = \"edge\"\n[[collector.tcp]]\n", address(port)))(dir, own, 1)
	return args, err
}

func (b *bench) relayTable(out *strings.Builder) {
	var rows [][]string
	for _, r := range b.results.of(relayed) {
		rows = append(rows, []string{r.subject, r.text((*sample).speed, "%.2f"), fmt.Sprintf("%.2f", b.ratioTo(r, "chain")),
			r.text((*sample).agentPerM, "%.2f") + " + " + r.text((*sample).cpuPerM, "%.2f"),
			r.text((*sample).agentPeak, "%.0f") + " / " + r.text((*sample).peak, "%.0f"), r.wrong()})
	}
	table(out, "Log, relay, collector, log; "+million(b.lines)+" lines",
		[]string{"", "M lines/s", "x the agent chain", "CPU s per M, relay + collector", "peak MiB, relay / collector", "lost / doubled / reordered / torn"}, rows)
}
