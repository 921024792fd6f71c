package scenario

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"fanin/e2e/load"
	"fanin/e2e/rig"
)

// journalRemote is the program of systemd that writes journal files.
const journalRemote = "/lib/systemd/systemd-journal-remote"

// journalFiles is how many files the journal of a day has, each with numbers of its own.
const journalFiles = 3

// journalDay is a day on which an agent follows a journal that grows.
type journalDay struct {
	collector *rig.Collector
	agent     *rig.Agent
	dir       string
	written   map[int]int // lines by source
}

// JournalKills kills the agent, its journalctl and the collector, n times at random moments,
// while entries are added to a journal. The agent's state is deleted at some of its kills.
func (p *Programs) JournalKills(n int) (*Result, error) {
	if _, err := os.Stat(journalRemote); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnable, err)
	}
	if _, err := exec.LookPath("journalctl"); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnable, err)
	}
	dir, err := os.MkdirTemp(p.Dir, "journal-")
	if err != nil {
		return nil, err
	}
	d, err := p.beginJournal(dir)
	if err != nil {
		return nil, err
	}
	defer d.collector.Kill()
	defer d.agent.Kill()
	var writing sync.WaitGroup
	var failed error
	stop := make(chan struct{})
	writing.Go(func() { failed = d.write(stop) }) // ends by stop
	for i := 0; i < n && err == nil; i++ {
		moment(200 * time.Millisecond)
		err = d.killOnce()
	}
	close(stop)
	writing.Wait()
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	r, err := d.end(n)
	if err != nil {
		return nil, fmt.Errorf("%w\nkept in %s", err, dir)
	}
	return r, os.RemoveAll(dir)
}

func (p *Programs) beginJournal(dir string) (*journalDay, error) {
	d := &journalDay{dir: filepath.Join(dir, "journal"), written: make(map[int]int)}
	if err := os.MkdirAll(d.dir, 0o750); err != nil {
		return nil, err
	}
	var err error
	d.collector, d.agent, err = p.pair(dir, fmt.Sprintf("[agent.journal]\ndirectory = %q\n", d.dir))
	return d, err
}

// write adds entries to one file after another.
func (d *journalDay) write(stop <-chan struct{}) error {
	for file := 0; ; file++ {
		name := filepath.Join(d.dir, fmt.Sprintf("%d.journal", file%journalFiles))
		ended, err := d.writeFile(name, file%journalFiles, stop)
		if ended || err != nil {
			return err
		}
	}
}

// writeFile adds a few thousand entries to a file, or as many as there are until stop. Each
// file is a source.
func (d *journalDay) writeFile(name string, src int, stop <-chan struct{}) (ended bool, err error) {
	c := exec.Command(journalRemote, "--output="+name, "-")
	in, err := c.StdinPipe()
	if err != nil {
		return false, err
	}
	if err := c.Start(); err != nil {
		return false, err
	}
	for range 20 {
		select {
		case <-stop:
			ended = true
		case <-time.After(20 * time.Millisecond):
		}
		if ended {
			break
		}
		if err = d.writeSome(in, src, 1+rand.IntN(300)); err != nil {
			break
		}
	}
	in.Close()
	return ended, errors.Join(err, c.Wait())
}

// writeSome writes n entries in the export format.
func (d *journalDay) writeSome(w io.Writer, src, n int) error {
	var text []byte
	for range n {
		seq := d.written[src]
		d.written[src]++
		now := time.Now().UnixMicro()
		text = fmt.Appendf(text, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%032x\n"+
			"_SYSTEMD_UNIT=app.service\n_PID=17\nMESSAGE=", now, now, 1)
		text = append(load.Append(text, src, seq), '\n')
	}
	_, err := w.Write(text)
	return err
}

// killOnce kills some of the programs, and starts them again.
func (d *journalDay) killOnce() error {
	which := rand.IntN(4)
	if which == 0 || which == 3 {
		d.agent.Kill()
		if rand.IntN(4) == 0 {
			if err := os.RemoveAll(d.agent.State); err != nil {
				return err
			}
		}
	}
	if which == 1 {
		for _, pid := range children(d.agent.PID()) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if which == 2 || which == 3 {
		d.collector.Kill()
		if err := d.collector.Start(); err != nil {
			return err
		}
	}
	if which == 0 || which == 3 {
		return d.agent.Start()
	}
	return nil
}

// children are the processes that a process has started.
func children(pid int) (all []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for _, word := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// end waits until everything is in the log, and checks it.
func (d *journalDay) end(rounds int) (*Result, error) {
	return endPair("journal, kill all", rounds, d.collector, d.agent, d.written)
}
