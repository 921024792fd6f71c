package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Names of the measurements of an agent's sources.
const (
	sourcePipe    = "pipe"
	sourceCRI     = "cri"
	sourceJournal = "journal"
)

// journalEntries is how many entries the journal has, at most.
const journalEntries = 200_000

// journalRemote is the program of systemd that makes a journal of text.
const journalRemote = "/lib/systemd/systemd-journal-remote"

// sourcesWorkloads measure what an agent reads besides files of plain lines, each beside
// what reads the same otherwise.
func (b *bench) sourcesWorkloads() (list []workload) {
	add := func(name string, measure func(subject) (sample, error), subjects ...string) {
		w := workload{kind: "chain", name: name, fits: func(subject) bool { return true }, measure: measure}
		for _, s := range subjects {
			w.subjects = append(w.subjects, subject{name: s, ours: s != "journalctl", command: b.fanin("none")})
		}
		list = append(list, w)
	}
	add(sourcePipe, b.untilExit, "pipe", "send", "follow")
	add(sourceCRI, b.formatted, "cri", "plain")
	_, err := exec.LookPath("journalctl")
	_, rerr := os.Stat(journalRemote)
	if err = errors.Join(err, rerr); err != nil {
		fmt.Fprintf(os.Stderr, "the journal is left out: %v\n", err)
		return list
	}
	add(sourceJournal, b.fromJournal, "journalctl", "journal")
	return list
}

// untilExit measures an agent that ends with its input, from its start until it ends with 0:
// fanin-agent -, with a pipe, or fanin-agent send, with a file. Its state is new. Beside them, an agent
// follows the file.
func (b *bench) untilExit(s subject) (r sample, err error) {
	if s.name == "follow" {
		s.chain, s.agent = 1, b.faninAgent
		return b.chain(s)
	}
	file, err := b.source(b.lines)
	if err != nil {
		return r, err
	}
	if err := cached(file); err != nil {
		return r, err
	}
	t, err := b.begin(s, 1)
	if err != nil {
		return r, err
	}
	defer t.stop()
	args := []string{b.agent, "send", "--to", address(t.port), "--id", "bench", "--state", "agent", file}
	var in *os.File
	if s.name == "pipe" {
		args = []string{b.agent, "--to", address(t.port), "--id", "bench", "--state", "agent", "-"}
		cat, out, err := piped(file)
		if err != nil {
			return r, err
		}
		in = out
		defer cat.Wait()
		defer cat.Process.Kill()
	}
	profiled := b.profile(t, "sources-"+s.name, b.lines)
	cpu, begun := t.cpu(), time.Now()
	agent, err := startFrom(in, t.dir, nil, args...)
	in.Close() // the agent's alone now
	if err != nil {
		return r, err
	}
	if err := agent.finish(&r); err != nil {
		return r, err
	}
	r.Seconds = time.Since(begun).Seconds()
	r.CPU, r.Peak = t.cpu()-cpu, t.memory("VmHWM")
	<-profiled
	return r, t.end(1, b.lines, &r)
}

// piped is a pipe into which cat writes a file.
func piped(file string) (cat *exec.Cmd, out *os.File, err error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer in.Close()
	cat = exec.Command("cat", file)
	cat.Stdout = in
	if err := cat.Start(); err != nil {
		out.Close()
		return nil, nil, err
	}
	return cat, out, nil
}

// finish waits until an agent ends with 0, and notes what it needed.
func (p *process) finish(r *sample) error {
	for {
		select {
		case <-p.exited:
			ended := p.cmd.ProcessState
			r.AgentCPU = (ended.UserTime() + ended.SystemTime()).Seconds()
			if !ended.Success() {
				return p.failed(fmt.Errorf("%v: %s", p.cmd.Args[4:], ended))
			}
			return nil
		case <-time.After(20 * time.Millisecond): // what has ended cannot be asked
			r.AgentRSS = max(r.AgentRSS, p.memory("VmHWM"))
		}
	}
}

// formatted follows a file in the format that the subject is named after.
func (b *bench) formatted(s subject) (r sample, err error) {
	file := ""
	if s.name == "cri" {
		file, err = b.sourceCRI(b.lines)
	} else {
		file, err = b.source(b.lines)
	}
	if err != nil {
		return r, err
	}
	if err := cached(file); err != nil {
		return r, err
	}
	table := fmt.Sprintf("[[agent.file]]\npaths = [%q]\nformat = %q\nsource = \"in\"\n", file, s.name)
	return b.configured(s, b.lines, table)
}

// configured sends lines of a source with an agent that a table configures.
func (b *bench) configured(s subject, lines int, source string) (r sample, err error) {
	t, err := b.begin(s, 1)
	if err != nil {
		return r, err
	}
	defer t.stop()
	config := fmt.Sprintf("[agent]\nid = \"bench\"\nstate = \"agent\"\nto = [%q]\n%s", address(t.port), source)
	if err := write(t.dir, "agent.toml", config); err != nil {
		return r, err
	}
	profiled := b.profile(t, "sources-"+s.name, lines)
	cpu, begun := t.cpu(), time.Now()
	agent, err := start(t.dir, nil, b.agent, "--config", "agent.toml")
	if err != nil {
		return r, err
	}
	defer agent.stop()
	r.Seconds = t.landed(lines, newBlock(0).size(lines)).Sub(begun).Seconds()
	r.CPU, r.Peak = t.cpu()-cpu, t.memory("VmHWM")
	r.AgentCPU, r.AgentRSS = agent.cpu(), agent.memory("VmHWM")
	if err := agent.stop(); err != nil {
		return r, err
	}
	<-profiled
	return r, t.end(1, lines, &r)
}

// fromJournal sends the entries of a journal, or has journalctl print them to nowhere.
func (b *bench) fromJournal(s subject) (r sample, err error) {
	entries := min(journalEntries, b.lines)
	dir, err := b.journal(entries)
	if err != nil {
		return r, err
	}
	if s.ours {
		return b.configured(s, entries, fmt.Sprintf("[agent.journal]\ndirectory = %q\n", dir))
	}
	p, err := start(b.dir, nil, "journalctl", "--directory", dir, "--output", "export")
	if err != nil {
		return r, err
	}
	defer p.stop()
	begun := time.Now()
	err = p.finish(&r)
	r.Seconds, r.Lines = time.Since(begun).Seconds(), entries
	return r, err
}

// sourcesTable has what agents read.
func (b *bench) sourcesTable(out *strings.Builder) {
	ways := []struct{ workload, title, other string }{
		{sourcePipe, "A pipe into `fanin-agent -`, from its start to its exit; " + million(b.lines) +
			" lines (send: `fanin-agent send` of the same file; follow: an agent that follows it)", "send"},
		{sourceCRI, "File of a container runtime, each record with a time of its own, agent, collector, file; " +
			million(b.lines) + " lines (plain: a file of the same lines)", "plain"},
		{sourceJournal, "Journal, agent, collector, file; " + million(min(journalEntries, b.lines)) +
			" entries (journalctl: `journalctl -o export` to /dev/null)", "journalctl"},
	}
	for _, w := range ways {
		var rows [][]string
		for _, r := range b.results.of(w.workload) {
			rows = append(rows, []string{r.subject,
				r.text((*sample).speed, "%.3f"), b.ratio(r, w.other, (*sample).speed),
				r.text((*sample).agentPerM, "%.2f") + " + " + r.text((*sample).cpuPerM, "%.2f"),
				r.text((*sample).agentPeak, "%.0f") + " / " + r.text((*sample).peak, "%.0f"), r.wrong()})
		}
		table(out, w.title, []string{"", "M lines/s", "x " + w.other, "CPU s per M, agent + collector",
			"peak MiB, agent / collector", "lost / doubled / reordered / torn"}, rows)
	}
}
