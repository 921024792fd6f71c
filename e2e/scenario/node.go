package scenario

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"fanin/e2e/rig"
)

// Node is what happens on a machine of a cluster.
type Node struct {
	Docker bool          // its containers are Docker's, and no pods
	Pods   int           // how many there are in all, at least
	AtOnce int           // how many there are at a time
	Life   time.Duration // how long one lives at most
	Full   int           // a file with as many bytes is rotated
	Kills  int           // of the agent, and of the collector at some
	Pause  time.Duration // between two kills, at most
}

// Nodes is a few pods with small files, for n kills of the agent.
func Nodes(docker bool) func(p *Programs, n int) (*Result, error) {
	return func(p *Programs, n int) (*Result, error) {
		return p.Containers(Node{Docker: docker, AtOnce: 8, Life: 2 * time.Second, Full: 32 << 10, Kills: n,
			Pause: 600 * time.Millisecond})
	}
}

// DaemonSet is a hundred pods in five minutes, with files of a mebibyte, of which each line is
// there although the agent is killed ten times.
func DaemonSet(p *Programs, n int) (*Result, error) {
	return p.Containers(Node{Pods: 100, AtOnce: 10, Life: time.Minute, Full: 1 << 20, Kills: n,
		Pause: 10 * time.Minute / time.Duration(max(n, 1))})
}

// node is a day on such a machine.
type node struct {
	Node
	collector *rig.Collector
	agent     *rig.Agent
	dir       string

	mu      sync.Mutex
	written map[int]int // lines by source
	err     error
}

// Containers has containers write to their two outputs as runtimes do: in records, of which long
// lines have several, into files that are rotated in the middle of lines, and compressed later.
// Their directories are created, and removed when all of them was sent. The agent is killed at
// random moments, at some with its state, and the collector at some.
func (p *Programs) Containers(n Node) (*Result, error) {
	dir, err := os.MkdirTemp(p.Dir, "node-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	d := &node{Node: n, dir: filepath.Join(dir, "pods"), written: make(map[int]int)}
	if err := os.MkdirAll(d.dir, 0o750); err != nil {
		return nil, err
	}
	table := "[[agent.file]]\nformat = \"cri\"\npaths = [\"" + d.dir + "/*/*/*.log\"]\n"
	if n.Docker {
		table = "[[agent.file]]\nformat = \"docker\"\npaths = [\"" + d.dir + "/*/*-json.log\"]\n"
	}
	if d.collector, d.agent, err = p.pair(dir, table); err != nil {
		return nil, err
	}
	defer d.collector.Kill()
	defer d.agent.Kill()
	killed, lived := make(chan struct{}), make(chan struct{})
	go func() { // ends when all kills are done and all pods have lived
		defer close(lived)
		d.live(killed)
	}()
	d.kill()
	close(killed)
	<-lived
	if d.err != nil {
		return nil, fmt.Errorf("%w\nthe agent said last:\n%s", d.err, lastOf(d.agent.Output()))
	}
	name := "pods, kill agent"
	if n.Docker {
		name = "docker, kill agent"
	}
	return endPair(name, n.Kills, d.collector, d.agent, d.written)
}

// live has the pods live, some at a time.
func (d *node) live(killed <-chan struct{}) {
	var pods sync.WaitGroup
	places := make(chan struct{}, d.AtOnce)
	for i := 0; i < d.Pods || !isClosed(killed); i++ {
		places <- struct{}{}
		pods.Go(func() {
			defer func() { <-places }()
			d.fail(d.pod(i))
		})
	}
	pods.Wait()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// kill kills the agent while the pods live.
func (d *node) kill() {
	for i := range d.Kills {
		moment(d.Pause)
		if i%5 == 4 {
			d.collector.Kill()
		}
		d.agent.Kill()
		if i%4 == 3 {
			d.fail(os.RemoveAll(d.agent.State))
		}
		if i%5 == 4 {
			d.fail(d.collector.Start())
		}
		d.fail(d.agent.Start())
	}
}

func (d *node) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = errors.Join(d.err, err)
}

// pod is the life of a pod with one container, whose last line has no end.
func (d *node) pod(i int) error {
	c := &podContainer{node: d, source: 2 * i, dir: filepath.Join(d.dir, fmt.Sprintf("ns_pod-%d_uid/app", i)), name: "0.log",
		sizes: make(map[int]bool)}
	if d.Docker {
		id := fmt.Sprintf("%064x", i+1)
		c.dir, c.name = filepath.Join(d.dir, id), id+"-json.log"
	}
	if err := os.MkdirAll(c.dir, 0o750); err != nil {
		return err
	}
	if d.Docker {
		config := []byte(fmt.Sprintf("{\"Name\":\"/app-%d\"}", i))
		if err := os.WriteFile(filepath.Join(c.dir, "config.v2.json"), config, 0o640); err != nil {
			return err
		}
	}
	for end := time.Now().Add(rand.N(d.Life)); time.Now().Before(end); moment(20 * time.Millisecond) {
		if err := c.writeSome(1 + rand.IntN(200)); err != nil {
			return err
		}
	}
	d.mu.Lock()
	for stream, n := range c.lines {
		d.written[c.source+stream] = n
	}
	d.mu.Unlock()
	if err := errors.Join(c.file.Close(), d.awaitSent(c)); err != nil {
		return err
	}
	if !d.Docker {
		c.dir = filepath.Dir(c.dir)
	}
	return os.RemoveAll(c.dir)
}

// awaitSent waits until all files of a container are in the log.
func (d *node) awaitSent(c *podContainer) error {
	var files []string
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var err error
		if files, err = filepath.Glob(filepath.Join(c.dir, "*.log*")); err != nil {
			return err
		}
		files = slices.DeleteFunc(files, func(path string) bool { return filepath.Ext(path) == ".gz" || c.isSent(path) })
		if len(files) == 0 {
			return nil
		}
	}
	all, err := d.agent.Files()
	return fmt.Errorf("not all was sent of %q: %w, %+v", files, err, all)
}

// sent counts the files in a directory that the agent follows and of which something is asked, and
// those of them that are not all in the log.
func (d *node) sent(dir string, asked func(rig.FileStatus) bool) (seen, behind int) {
	files, err := d.agent.Files()
	if err != nil {
		return 0, 1 // it was killed
	}
	for _, f := range files {
		if filepath.Dir(f.Path) != dir || !asked(f) {
			continue
		}
		if seen++; f.Acked < f.Size {
			behind++
		}
	}
	return seen, behind
}
