package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// source is a file with so many lines, written once.
func (b *bench) source(lines int) (string, error) { return b.sourceOf(0, lines) }

func (b *bench) sourceOf(source, lines int) (string, error) {
	path := filepath.Join(b.dir, fmt.Sprintf("in-%d-%d.log", source, lines))
	block := newBlock(source)
	if fi, err := os.Stat(path); err == nil && fi.Size() == block.size(lines) {
		return path, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	for lines > 0 {
		text, n := block.take(lines)
		if _, err := w.Write(text); err != nil {
			return "", err
		}
		lines -= n
	}
	if err := w.Flush(); err != nil {
		return "", err
	}
	return path, f.Close()
}

// chain follows a file with the subject's agent.
func (b *bench) chain(s subject) (r sample, err error) {
	lines := b.lines / s.chain
	file, err := b.source(lines)
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
	args, env, err := s.agent(t.dir, file, t.port)
	if err != nil {
		return r, err
	}
	profiled := b.profile(t, "chain", lines)
	cpu, begun := t.cpu(), time.Now()
	agent, err := start(t.dir, env, args...)
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
