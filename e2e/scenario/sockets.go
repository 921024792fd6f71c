package scenario

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"fanin/e2e/check"
	"fanin/e2e/load"
	"fanin/e2e/rig"
)

// socketDay is a day on which programs send lines to the sockets of an agent.
type socketDay struct {
	collector *rig.Collector
	agent     *rig.Agent
	senders   []*socketSender
	orderly   atomic.Bool // the agent is stopped, and not killed
}

// socketSender sends lines to a socket, of another source for each life of the agent.
type socketSender struct {
	network, path string
	first         int           // source of the first life
	begun         chan struct{} // it is connected to the agent
	ended         chan struct{} // it is connected no more
	sent, kept    map[int]int   // lines by source; valid between lives
}

// Sockets kills the agent n times while programs send lines to its sockets, stops it in between,
// and kills the collector at some of these times. Of a life of the agent that ended with a kill,
// the log has all lines up to some place: what was not synced is gone with it. Of one that was
// stopped it has all that was sent.
func (p *Programs) Sockets(n int) (*Result, error) {
	dir, err := os.MkdirTemp(p.Dir, "sockets-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	d, err := p.beginSockets(dir)
	if err != nil {
		return nil, err
	}
	defer d.collector.Kill()
	defer d.agent.Kill()
	stop := make(chan struct{})
	for _, x := range d.senders {
		go x.run(stop, &d.orderly) // ends by stop
	}
	defer close(stop)
	for range n {
		if err := errors.Join(d.life(true), d.life(false)); err != nil {
			return nil, err
		}
	}
	return d.end(n)
}

func (p *Programs) beginSockets(dir string) (*socketDay, error) {
	d := &socketDay{agent: &rig.Agent{State: filepath.Join(dir, "agent")}}
	var err error
	if d.collector, err = rig.NewCollector(p.Collector, dir, filepath.Join(dir, "log"), rotating); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(d.collector.Log), 0o750); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("[agent]\nid = \"box\"\nstate = %q\nto = [%q]\n", d.agent.State, "tcp://"+d.collector.Addr)
	for i, x := range []struct{ network, kind string }{{"unixgram", "datagram"}, {"unix", "stream"}} {
		path := filepath.Join(dir, x.kind)
		text += fmt.Sprintf("[[agent.unix]]\npath = %q\ntype = %q\nformat = \"plain\"\n", path, x.kind)
		d.senders = append(d.senders, &socketSender{network: x.network, path: path, first: (i + 1) * 10_000,
			begun: make(chan struct{}), ended: make(chan struct{}), sent: make(map[int]int), kept: make(map[int]int)})
	}
	config := filepath.Join(dir, "agent.toml")
	if err := os.WriteFile(config, []byte(text), 0o640); err != nil {
		return nil, err
	}
	d.agent.Process = rig.Process{Path: p.Agent, Args: []string{"--config", config}}
	return d, d.collector.Start()
}

// life is one life of the agent.
func (d *socketDay) life(kill bool) error {
	if err := d.agent.Start(); err != nil {
		return err
	}
	for _, x := range d.senders {
		<-x.begun
	}
	moment(300 * time.Millisecond)
	if rand.IntN(3) == 0 {
		d.collector.Kill()
		if err := d.collector.Start(); err != nil {
			return err
		}
	}
	d.orderly.Store(!kill)
	var err error
	if kill {
		d.agent.Kill()
	} else if code, serr := d.agent.Stop(); serr != nil || code != 0 {
		err = fmt.Errorf("the agent ended with %d: %w\n%s", code, serr, d.agent.Output())
	}
	for _, x := range d.senders {
		<-x.ended
	}
	return err
}

// run sends until stop, which comes between two lives.
func (x *socketSender) run(stop <-chan struct{}, orderly *atomic.Bool) {
	for src := x.first; ; {
		select {
		case <-stop:
			return
		default:
		}
		c, err := net.Dial(x.network, x.path)
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		select {
		case x.begun <- struct{}{}:
		case <-stop:
			c.Close()
			return
		}
		n := x.send(c, src)
		c.Close()
		x.sent[src] = n + 1 // the last one may have arrived
		if x.kept[src] = 0; orderly.Load() {
			x.sent[src], x.kept[src] = n, n
		}
		src++
		x.ended <- struct{}{}
	}
}

// send sends lines until one is refused, and returns how many were not.
func (x *socketSender) send(c net.Conn, src int) (n int) {
	for ; ; n++ {
		if _, err := c.Write(load.Append(nil, src, n)); err != nil {
			return n
		}
		if n%100 == 99 {
			moment(2 * time.Millisecond)
		}
	}
}

// end has the agent send what is left, and checks the log.
func (d *socketDay) end(rounds int) (*Result, error) {
	e := check.Expect{Written: make(map[int]int), Kept: make(map[int]int)}
	for _, x := range d.senders {
		for src := range x.sent {
			e.Written[src], e.Kept[src] = x.sent[src], x.kept[src]
		}
	}
	if err := d.agent.Start(); err != nil {
		return nil, err
	}
	for _, x := range d.senders {
		<-x.begun
	}
	empty := func() bool {
		left, err := filepath.Glob(filepath.Join(d.agent.State, "spool", "*", "*.seg"))
		return err == nil && len(left) <= len(d.senders)
	}
	for end := time.Now().Add(time.Minute); !empty() && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
	}
	d.orderly.Store(false)
	code, err := d.agent.Stop()
	for _, x := range d.senders {
		<-x.ended
		for src, n := range x.sent {
			if _, ok := e.Written[src]; !ok {
				e.Written[src], e.Kept[src] = n, 0 // sent while the rest was
			}
		}
	}
	if err == nil && code != 0 {
		err = fmt.Errorf("the agent's exit code is %d:\n%s", code, d.agent.Output())
	}
	if _, cerr := d.collector.Stop(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	checked, err := e.Log(d.collector.Log, d.collector.State)
	if err != nil {
		return nil, err
	}
	r := &Result{Name: "sockets, kill agent", Rounds: rounds, Result: *checked}
	whole, err := (&check.Expect{Whole: true}).Log(d.collector.Log, d.collector.State)
	if err != nil || !r.OK() || !whole.OK() {
		return nil, fmt.Errorf("%s: %s; holes: %v, %w\n%s\nthe agent said last:\n%s", r.Name, r, whole, err,
			strings.Join(r.First, "\n"), lastOf(d.agent.Output()))
	}
	return r, d.collector.Verify()
}
