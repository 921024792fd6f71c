package scenario

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"

	"fanin/e2e/rig"
)

// PubOverload has two subscribers of a ZeroMQ PUB socket, one of which stops reading
// while lines are published, n times. What the collector counts as dropped must be what
// the two did not get.
func (p *Programs) PubOverload(n int) (*Result, error) {
	dir, err := os.MkdirTemp(p.Dir, "pub-")
	if err != nil {
		return nil, err
	}
	port, err := rig.FreePort()
	if err != nil {
		return nil, err
	}
	c, err := rig.NewCollector(p.Collector, dir, dir, fmt.Sprintf("sync = \"none\"\n[[collector.zmq]]\n[collector.zmq.output]\n"+
		"pub = \"tcp://127.0.0.1:%d\"\nhwm = 10000\n", port))
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	defer c.Kill()
	o := &pubDay{c: c}
	defer o.stop()
	err = o.subscribe(dir, port)
	for i := 0; err == nil && i < n; i++ {
		err = o.round()
	}
	r := &Result{Name: "ZeroMQ PUB, overload", Rounds: n}
	if err != nil {
		return r, fmt.Errorf("%w\n%s", err, c.Output())
	}
	return r, o.end(r)
}

// pubDay is such a day.
type pubDay struct {
	c           *rig.Collector
	conn        net.Conn // lines go in here
	subscribers []*rig.Process
	files       []string // what they received
	sent        int
}

func (o *pubDay) stop() {
	for _, s := range o.subscribers {
		s.Kill()
	}
	if o.conn != nil {
		o.conn.Close()
	}
}

// subscribe starts two subscribers, and waits until each gets what is published: lines
// with the number -1.
func (o *pubDay) subscribe(dir string, port int) (err error) {
	if o.conn, err = net.Dial("tcp", o.c.Addr); err != nil {
		return err
	}
	for i := range 2 {
		file := filepath.Join(dir, fmt.Sprintf("subscriber%d.txt", i))
		cmd, err := zmqProgram("subscribe", port, file)
		if err != nil {
			return err
		}
		s := &rig.Process{Path: cmd.Path, Args: cmd.Args[1:]}
		o.subscribers, o.files = append(o.subscribers, s), append(o.files, file)
		if err := s.Start(); err != nil {
			return err
		}
	}
	return waitUntil("the subscriptions", func() (bool, error) {
		_, err := fmt.Fprintln(o.conn, "number -1")
		for _, file := range o.files {
			if fi, serr := os.Stat(file); serr != nil || fi.Size() == 0 {
				return false, err
			}
		}
		return true, err
	})
}

// round publishes more than waits for a subscriber, while one of them does not read.
func (o *pubDay) round() error {
	slow := o.subscribers[1]
	slow.Pause()
	out := bufio.NewWriter(o.conn)
	for range overloadSize {
		fmt.Fprintf(out, "number %d %s\n", o.sent, overloadText)
		o.sent++
	}
	if err := out.Flush(); err != nil {
		return err
	}
	err := waitUntil("lines to be dropped", func() (bool, error) {
		n, err := o.dropped()
		return n > 0, err
	})
	slow.Signal(syscall.SIGCONT)
	dropped, got := 0, 0
	all := func() (bool, error) {
		n, derr := o.dropped()
		dropped, got = n, 0
		for _, file := range o.files {
			numbers, err := received(file)
			if err != nil {
				return false, err
			}
			got += len(numbers)
		}
		return dropped+got >= len(o.files)*o.sent, derr
	}
	if err := errors.Join(err, waitUntil("each line to be received or dropped", all)); err != nil {
		return fmt.Errorf("%w: %d of %d were received, and %d dropped", err, got, len(o.files)*o.sent, dropped)
	}
	return nil
}

// dropped is what the collector counts, for all subscribers together.
func (o *pubDay) dropped() (int, error) {
	var text string
	if err := o.c.Ask("GET", "/metrics", &text); err != nil {
		return 0, err
	}
	list := regexp.MustCompile(`(?m)^fanin_zmq_pub_dropped_lines_total(?:\{.*\})? ([0-9.e+]+)$`).FindAllStringSubmatch(text, -1)
	if list == nil {
		return 0, errors.New("there is no fanin_zmq_pub_dropped_lines_total")
	}
	total := 0
	for _, m := range list { // one for each reason
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return 0, err
		}
		total += int(n)
	}
	return total, nil
}

// received are the numbers that a subscriber wrote, without those of the beginning.
func received(file string) (numbers []int, err error) {
	b, err := os.ReadFile(file)
	for line := range bytes.Lines(b) {
		if n, perr := strconv.Atoi(string(bytes.TrimSpace(line))); perr == nil && n >= 0 && line[len(line)-1] == '\n' {
			numbers = append(numbers, n)
		}
	}
	return numbers, err
}

// end holds what was received against what was sent.
func (o *pubDay) end(r *Result) error {
	dropped, err := o.dropped()
	if err != nil {
		return err
	}
	for _, file := range o.files {
		numbers, err := received(file)
		if err != nil {
			return err
		}
		next := 0
		for _, n := range numbers {
			if n < next {
				r.Doubled++
			}
			next = n + 1
		}
		r.Lines += len(numbers)
		r.Counted += o.sent - len(numbers)
	}
	switch {
	case !r.OK():
		return errors.New("a subscriber got a line twice or out of order")
	case r.Counted != dropped:
		return fmt.Errorf("%d lines were not received, and the collector counts %d", r.Counted, dropped)
	}
	return nil
}
