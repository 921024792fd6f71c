package scenario

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanin/e2e/check"
	"fanin/e2e/load"
	"fanin/e2e/rig"
	"fanin/internal/freeport"
)

// relpDay is a day on which rsyslog sends lines over RELP, with one session at a time.
type relpDay struct {
	collector *rig.Collector
	network   *rig.Cuts
	rsyslog   rig.Process
	input     string   // where rsyslog gets lines
	feeding   net.Conn // of one connection, or they would not be in order
	sent      int
}

// relpLines is how many lines come between two strikes.
const relpLines = 25_000

// RELP sends lines from rsyslog, and kills the collector n times and cuts the network n times while
// they are under way. The log has each line once, in order.
func (p *Programs) RELP(n int) (*Result, error) {
	r, err := p.relp("relp, kill and cut", n, func(d *relpDay, i int) error {
		if i%2 == 0 {
			d.network.Cut()
			return nil
		}
		d.collector.Kill()
		return d.collector.Start()
	})
	if err == nil && !r.OK() {
		err = fmt.Errorf("not each line once and in order: %q", r.First)
	}
	return r, err
}

// RELPClient kills rsyslog n times, whose queue is on its disk. RELP cannot promise anything then:
// the result has the figures, and only a torn line fails.
func (p *Programs) RELPClient(n int) (*Result, error) {
	return p.relp("relp, kill rsyslog", n, func(d *relpDay, i int) error {
		if i%2 == 0 {
			return nil
		}
		d.rsyslog.Kill()
		d.feeding.Close()
		d.feeding = nil
		return d.rsyslog.Start()
	})
}

func (p *Programs) relp(name string, n int, strike func(d *relpDay, i int) error) (*Result, error) {
	dir, err := os.MkdirTemp(p.Dir, "relp-")
	if err != nil {
		return nil, err
	}
	d, err := p.beginRELP(dir)
	if err != nil {
		return nil, err
	}
	defer d.collector.Kill()
	defer d.rsyslog.Kill()
	defer d.network.Close()
	for i := range 2 * n {
		if err := d.feed(relpLines); err != nil {
			return nil, err
		}
		moment(300 * time.Millisecond)
		if err := strike(d, i); err != nil {
			return nil, err
		}
	}
	r, err := d.settle(name, n)
	if err == nil {
		os.RemoveAll(dir)
	}
	return r, err
}

// beginRELP starts a collector, a network, and rsyslog.
func (p *Programs) beginRELP(dir string) (*relpDay, error) {
	ports, err := freeport.Find(2)
	if err != nil {
		return nil, err
	}
	listen := fmt.Sprintf("127.0.0.1:%d", ports[0])
	d := &relpDay{input: fmt.Sprintf("127.0.0.1:%d", ports[1])}
	if d.collector, err = rig.NewCollector(p.Collector, dir, filepath.Join(dir, "log"),
		rotating+fmt.Sprintf("[[collector.relp]]\nlisten = %q\ntrust_host = true\n", listen)); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(d.collector.Log), 0o750); err != nil {
		return nil, err
	}
	if d.network, err = rig.NewCuts(listen); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "rsyslog.conf")
	_, port, _ := net.SplitHostPort(d.network.Addr)
	text := fmt.Sprintf(relpConfig, dir, ports[1], port)
	if err := os.WriteFile(config, []byte(text), 0o640); err != nil {
		return nil, err
	}
	args, env, err := rig.Rsyslog(config, filepath.Join(dir, "rsyslog.pid"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnable, err)
	}
	d.rsyslog = rig.Process{Path: args[0], Args: args[1:], Env: env}
	if err := d.collector.Start(); err != nil {
		return nil, err
	}
	return d, d.rsyslog.Start()
}

// relpConfig is rsyslog's: lines of any port, in order, over one session.
const relpConfig = `global(workDirectory="%s" net.enableDNS="off" processInternalMessages="off")
module(load="imtcp")
module(load="omrelp")
input(type="imtcp" address="127.0.0.1" port="%d" ruleset="out")
ruleset(name="out" queue.type="LinkedList" queue.size="2000000" queue.filename="out" queue.workerThreads="1"
	queue.discardMark="2000000" queue.lightDelayMark="2000000" queue.saveOnShutdown="on") {
	action(type="omrelp" target="127.0.0.1" port="%s" windowSize="1000"
		action.resumeRetryCount="-1" action.resumeInterval="1")
}
`

// feed hands lines to rsyslog.
func (d *relpDay) feed(n int) error {
	err := error(nil)
	for end := time.Now().Add(30 * time.Second); d.feeding == nil; time.Sleep(20 * time.Millisecond) {
		if d.feeding, err = net.Dial("tcp", d.input); err != nil && time.Now().After(end) {
			return fmt.Errorf("rsyslog does not listen: %w\n%s", err, d.rsyslog.Output())
		}
	}
	var b []byte
	for line := range strings.Lines(string(load.Seed(0).Block(nil, 1, d.sent, n))) {
		b = append(append(b, "<13>Oct 11 22:14:15 web app: "...), line...)
	}
	d.sent += n
	_, err = d.feeding.Write(b)
	return err
}

// settle waits until all lines are there, or for long no more came, and compares.
func (d *relpDay) settle(name string, n int) (*Result, error) {
	e := check.Expect{Written: map[int]int{1: d.sent}}
	r := &Result{Name: name, Rounds: n}
	for last := time.Now(); ; time.Sleep(time.Duration(500+rand.IntN(100)) * time.Millisecond) {
		got, err := e.Log(d.collector.Log, d.collector.State)
		if err != nil {
			return nil, err
		}
		if got.Lines > r.Lines {
			last = time.Now()
		}
		if r.Result = *got; r.Lost == 0 || time.Since(last) > 30*time.Second {
			break
		}
	}
	if err := d.collector.Conserved(10 * time.Second); err != nil {
		return r, err
	}
	if _, err := d.collector.Stop(); err != nil {
		return r, err
	}
	return r, d.collector.Verify()
}
