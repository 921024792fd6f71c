// Command attack measures how an agent fares while others misbehave: frames that
// do not end, connections that say nothing, text that expands, floods. All of it
// stays on this machine's loopback, where addresses of 127.0.0.0/8 stand for many
// machines, and is bounded.
//
//	go run ./e2e/attack [-for 10s] [-only frames] [-descriptors 2048]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fanin/e2e/rig"
)

func main() {
	d := flag.Duration("for", 10*time.Second, "how long each attack lasts")
	only := flag.String("only", "", "attacks whose name contains this")
	descriptors := flag.Int("descriptors", defaultDescriptors, "how many the collector may have open")
	flag.Parse()
	if err := measure(*d, *only, *descriptors, func(r result, _ bool) { fmt.Println(r) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// defaultDescriptors is less than the connections of the attacks with most of them.
const defaultDescriptors = 2048

// tries is how often an attack is tried again whose victim did not fare well.
const tries = 2

// result is what came of one attack.
type result struct {
	name string
	measured
	connected, ended int64
	sent, kept       int64   // bytes the attack sent, and by which the log grew beyond the victim's lines
	peak             float64 // the most memory that the collector had, in MiB
	trouble          string  // what else went wrong
}

// maxPeak is the most memory that a collector may have under attack, in MiB.
const maxPeak = 128

// good is what a paced agent is promised, whatever others do, on a machine that
// has little else to do. Ten thousand connections at once are a second of work for
// two processors, even if each is closed at once: then it keeps its rate, and its
// lines may be late.
func (r result) good(quiet time.Duration) bool {
	kind, _, _ := strings.Cut(r.name, " ")
	if slices.Contains([]string{"ZeroMQ", "GELF", "syslog", "RELP"}, kind) {
		return r.rate >= 0.9 && r.peak <= maxPeak && r.errors == 0 && r.trouble == ""
	}
	return r.rate >= 0.95 && r.p99 <= 100*time.Millisecond+4*quiet && r.errors == 0 && r.trouble == ""
}

func (r result) String() string {
	return fmt.Sprintf("%-38s rate %5.1f %%  p99 %8v  worst %8v  errors %d  (%d connections, %d ended, %d KiB sent, log grew by %d KiB, peak %.0f MiB) %s", r.name,
		100*r.rate, r.p99.Round(10*time.Microsecond), r.worst.Round(10*time.Microsecond), r.errors, r.connected, r.ended, r.sent>>10, r.kept>>10, r.peak, r.trouble)
}

// measure runs the attacks one after the other, each with a collector of its own, and
// before them a quiet time.
func measure(d time.Duration, only string, descriptors int, tell func(r result, good bool)) error {
	dir, err := os.MkdirTemp("", "fanin-attack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	collector, _, err := rig.Build(dir)
	if err != nil {
		return err
	}
	all := append([]attack{{"none", func(ctx context.Context, _ *target) { <-ctx.Done() }}}, attacks()...)
	var quiet time.Duration // p99 without an attack, which says how busy this machine is otherwise
	for i, a := range all {
		if !strings.Contains(a.name, only) && a.name != "none" {
			continue
		}
		for try := 0; ; try++ { // other work of this machine may be in the way
			r, err := a.against(collector, filepath.Join(dir, fmt.Sprint(i, "-", try)), descriptors, d)
			if err != nil {
				return fmt.Errorf("%s: %w", a.name, err)
			}
			if a.name == "none" {
				quiet = r.p99
			}
			if r.good(quiet) || try == tries {
				tell(r, r.good(quiet))
				break
			}
			again, err := all[0].against(collector, filepath.Join(dir, fmt.Sprint("quiet-", i, "-", try)), descriptors, d)
			if err != nil {
				return err
			}
			quiet = max(quiet, again.p99)
		}
	}
	return nil
}

// against runs the attack against a collector, for as long as d.
func (a attack) against(program, dir string, descriptors int, d time.Duration) (r result, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return r, err
	}
	zeromq, sockets, err := zeromqTables(dir)
	if err != nil {
		return r, err
	}
	gelf, gelfAt, err := gelfTable()
	if err != nil {
		return r, err
	}
	relp, relpAt, err := relpTable()
	if err != nil {
		return r, err
	}
	c, err := rig.NewCollector(program, dir, dir, "sync = \"none\"\n"+zeromq+gelf+relp)
	if err != nil {
		return r, err
	}
	c.Descriptors = descriptors
	c.Args = append(c.Args, "--http", "127.0.0.1:0")
	if err := c.Start(); err != nil {
		return r, err
	}
	defer c.Kill()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	v, err := newVictim(ctx, c.Addr)
	if err != nil {
		return r, err
	}
	defer v.close()
	if _, err := v.run(ctx, 200*time.Millisecond); err != nil { // it was there before
		return r, err
	}
	t := &target{lines: c.Addr, http: address(c.Output(), "http"), zeromq: sockets, gelf: gelfAt, relp: relpAt}
	done := make(chan struct{})
	attacking, stop := context.WithCancel(ctx)
	go func() { // ends by stop
		defer close(done)
		a.run(attacking, t)
	}()
	time.Sleep(time.Second) // until the attack is under way
	r.name = a.name
	r.measured, err = v.run(ctx, d)
	if err == nil {
		r.trouble = usable(c)
	}
	r.peak = peak(c.PID())
	stop()
	<-done
	r.connected, r.ended, r.sent = t.connected.Load(), t.ended.Load(), t.sent.Load()
	if st, serr := c.Status(); err == nil {
		err = serr
		r.kept = int64(st.Bytes) - v.laidOut()
	}
	return r, err
}

// usable says what does not work of a collector under attack: it must be ready, and
// able to rotate.
func usable(c *rig.Collector) string {
	var ready struct {
		Ready  bool
		Reason string
	}
	if err := c.Ask("GET", "/readyz", &ready); err != nil || !ready.Ready {
		return fmt.Sprintf("not ready: %v %s", err, ready.Reason)
	}
	if err := c.Ask("POST", "/rotate", nil); err != nil {
		return fmt.Sprintf("cannot rotate: %v", err)
	}
	return ""
}

// peak is the most memory that a process had, in MiB.
func peak(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	var kib float64
	fmt.Sscan(rest, &kib)
	return kib / 1024
}

// address is where a collector says that it listens.
func address(output, kind string) string {
	_, rest, _ := strings.Cut("\n"+output, "\nlistening "+kind+" ")
	addr, _, _ := strings.Cut(rest, "\n")
	return addr
}
