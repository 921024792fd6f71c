package scenario

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"fanin/e2e/rig"
)

// flood is a program whose messages are not stored: what the collector cannot take is
// lost, and what it says of that must be true.
type flood interface {
	// table is what the collector's configuration needs.
	table() string
	// start starts it; ready waits until the collector receives.
	start(dir string) error
	ready() error
	// publish publishes numbered messages, each once, and loses none itself.
	publish(from, to int) error
	// cut breaks the connection to the collector once, and waits until there is another.
	cut() error
	stop()
	// breaks matches what the log says of connections that broke.
	breaks() string
}

// overloadSize is how many messages are published while the disk is full: more than
// the collector has memory for.
const overloadSize = 150_000

// overloadText comes behind the number of a message.
var overloadText = strings.Repeat("x", 80)

// overload fills the disk under the log while messages arrive, until the collector has
// no memory for more, and then breaks the connection, n times. What it counts as lost
// must be what is missing from the log, and the breaks that it reports are those made.
func (p *Programs) overload(n int, name string, f flood) (*Result, error) {
	dir, err := os.MkdirTemp(p.Dir, "overload-")
	if err != nil {
		return nil, err
	}
	disk, err := newSmallDisk(filepath.Join(dir, "disk"))
	if err != nil {
		return nil, err
	}
	defer disk.unmount()
	if err := f.start(dir); err != nil {
		return nil, err
	}
	defer f.stop()
	c, err := rig.NewCollector(p.Collector, dir, disk.dir, "sync = \"none\"\nrotate_size = \"off\"\nkeep_bytes = \"off\"\n"+f.table())
	if err != nil {
		return nil, err
	}
	if err := errors.Join(c.Start(), f.ready()); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, c.Output())
	}
	defer c.Kill()
	o := &overload{c: c, disk: disk, flood: f}
	for range n {
		if err := o.round(); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, c.Output())
		}
	}
	return o.end(&Result{Name: name, Rounds: n})
}

// overload is such a day.
type overload struct {
	c     *rig.Collector
	disk  *smallDisk
	flood flood
	sent  int
	cuts  int
}

func (o *overload) round() error {
	if err := o.disk.fill(); err != nil {
		return err
	}
	if err := waitUntil("the disk to be full", func() (bool, error) {
		st, err := o.c.Status()
		return !st.Healthy, errors.Join(err, o.publish(1))
	}); err != nil {
		return err
	}
	if err := errors.Join(o.publish(overloadSize), o.disk.free()); err != nil {
		return err
	}
	if err := waitUntil("all of it to be written or counted", o.accounted); err != nil {
		return err
	}
	o.cuts++
	return o.flood.cut()
}

// publish publishes so many more messages.
func (o *overload) publish(n int) error {
	o.sent += n
	return o.flood.publish(o.sent-n, o.sent)
}

// waitUntil asks until something has happened.
func waitUntil(what string, done func() (bool, error)) error {
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		ok, err := done()
		if ok || err != nil {
			return err
		}
	}
	return fmt.Errorf("waited in vain for %s", what)
}

// accounted is whether each message was received, and written or dropped.
func (o *overload) accounted() (bool, error) {
	var text string
	if err := o.c.Ask("GET", "/metrics", &text); err != nil {
		return false, err
	}
	received, err := total(text, "fanin_received_lines_total")
	if err != nil || received < o.sent {
		return false, err
	}
	written, err := total(text, "fanin_written_lines_total")
	dropped, derr := total(text, "fanin_dropped_lines_total")
	return written+dropped >= o.sent, errors.Join(err, derr)
}

// total adds a metric's values for Redis and ZeroMQ.
func total(metrics, name string) (n int, err error) {
	for _, m := range regexp.MustCompile(`(?m)^`+name+`\{.*input="(?:redis|zmq)".*\} ([0-9.e+]+)$`).FindAllStringSubmatch(metrics, -1) {
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return 0, err
		}
		n += int(v)
	}
	return n, nil
}

// end stops the collector, which then reports what it had not yet, and holds the log
// against what was sent.
func (o *overload) end(r *Result) (*Result, error) {
	var text string
	if err := o.c.Ask("GET", "/metrics", &text); err != nil {
		return nil, err
	}
	dropped, err := total(text, "fanin_dropped_lines_total")
	if err != nil {
		return nil, err
	}
	if _, err := o.c.Stop(); err != nil {
		return nil, err
	}
	if err := o.c.Verify(); err != nil {
		return nil, err
	}
	reported, breaks, err := o.read(r)
	if err != nil {
		return r, err
	}
	missing := o.sent - r.Lines
	switch {
	case !r.OK():
		err = errors.New("the log is wrong")
	case missing != dropped || missing != reported:
		err = fmt.Errorf("%d messages are missing; the collector counts %d, and its log reports %d", missing, dropped, reported)
	case breaks != o.cuts:
		err = fmt.Errorf("%d connections were broken, and %d are reported", o.cuts, breaks)
	case missing == 0:
		err = errors.New("nothing was lost: the collector was not overloaded")
	}
	r.Counted = missing
	return r, err
}

// read reads the log: each number once and in order, and what it reports of itself.
func (o *overload) read(r *Result) (reported, breaks int, err error) {
	f, err := os.Open(o.c.Log)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	number, lost := regexp.MustCompile(`: number (\d+) x{80}$`), regexp.MustCompile(` fanin: LOST n=(\d+) unit=messages `)
	broken, notice := regexp.MustCompile(o.flood.breaks()), regexp.MustCompile(`^\S+ \S+ fanin: `)
	next := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		n := func(re *regexp.Regexp) (int, bool) {
			m := re.FindStringSubmatch(s.Text())
			if m == nil {
				return 0, false
			}
			n, _ := strconv.Atoi(m[1])
			return n, true
		}
		if i, ok := n(number); ok {
			r.Lines++
			if i < next {
				r.Doubled++ // or out of order, which is as bad
			}
			next = i + 1
		} else if i, ok := n(lost); ok {
			reported += i
		} else if i, ok := n(broken); ok {
			breaks += i
		} else if !notice.MatchString(s.Text()) {
			r.Torn++
		}
		if notice.MatchString(s.Text()) {
			r.Notices++
		}
	}
	return reported, breaks, nil
}

// smallDisk is a file system of its own, in memory, that can be filled.
type smallDisk struct{ dir, ballast string }

func newSmallDisk(dir string) (*smallDisk, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=512M", "tmpfs", dir).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w: mount: %v: %s", ErrUnable, err, out)
	}
	return &smallDisk{dir, filepath.Join(dir, "ballast")}, nil
}

// fill takes all the room there is.
func (d *smallDisk) fill() error {
	f, err := os.Create(d.ballast)
	if err != nil {
		return err
	}
	defer f.Close()
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err := f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2] // to the last byte
		}
	}
	return nil
}

func (d *smallDisk) free() error { return os.Remove(d.ballast) }

func (d *smallDisk) unmount() { exec.Command("umount", "-l", d.dir).Run() }
