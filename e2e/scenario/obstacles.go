package scenario

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// NamesTaken lets the log rotate while the names that its backups would get are
// taken, as after a clock that was set back. Files of others are not touched.
func (p *Programs) NamesTaken(n int) (*Result, error) {
	d, err := p.begin(plan{name: "backup names taken", slow: true, log: "rotate_size = \"256KiB\"\nkeep_bytes = \"off\"\n"})
	if err != nil {
		return nil, err
	}
	var taken []string
	return d.rounds(n, func(i int) error {
		now := time.Now().UTC().Add(150 * time.Millisecond) // not a name that is being taken this moment
		for ms := range 100 {
			name := "all-" + now.Add(time.Duration(ms)*time.Millisecond).Format("2006-01-02T15-04-05.000") + ".log"
			if ms%2 == 1 {
				name += ".gz"
			}
			name = filepath.Join(d.logDir, name)
			f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
			if errors.Is(err, os.ErrExist) {
				continue // the log itself was here first
			}
			if err != nil {
				return err
			}
			f.WriteString("of others\n")
			f.Close()
			taken = append(taken, name)
		}
		time.Sleep(time.Until(now))
		for range 5 { // which may say that it cannot
			d.collector.Ask("POST", "/rotate", nil)
			moment(40 * time.Millisecond)
		}
		return untouched(taken)
	})
}

// untouched reports a file that another process had, and has no more.
func untouched(taken []string) error {
	for _, name := range taken {
		if b, err := os.ReadFile(name); err != nil || string(b) != "of others\n" {
			return fmt.Errorf("%s was another process's, and now is %.60q, %v", name, b, err)
		}
	}
	return nil
}

// ReadOnly lets the log rotate in a directory in which nothing can be renamed or
// made: it goes on in the file that it has.
func (p *Programs) ReadOnly(n int) (*Result, error) {
	d, err := p.begin(plan{name: "read-only directory", log: "rotate_size = \"256KiB\"\nkeep_bytes = \"off\"\n"})
	if err != nil {
		return nil, err
	}
	lock, unlock := readOnly(d.logDir)
	if err := lock(); err != nil {
		d.end(0)
		return nil, err
	}
	defer unlock()
	unlock()
	r, err := d.rounds(n, func(i int) error {
		if err := lock(); err != nil {
			return err
		}
		if err := d.collector.Ask("POST", "/checkpoint", nil); err != nil { // behind a rotation that is under way
			return err
		}
		before, err := d.collector.Status()
		if err != nil {
			return err
		}
		rotated := d.collector.Ask("POST", "/rotate", nil)
		time.Sleep(100 * time.Millisecond) // many times rotate_size
		st, err := d.collector.Status()
		unlock()
		switch {
		case err != nil:
			return err
		case rotated == nil || st.Generation != before.Generation:
			return fmt.Errorf("rotated from generation %d to %d in a directory that cannot change", before.Generation, st.Generation)
		case !st.Healthy || st.Lines == before.Lines:
			return fmt.Errorf("took no lines: %d before, %d after; %s", before.Lines, st.Lines, st.Trouble)
		}
		return d.rotatesAgain(st.Generation)
	})
	return r, err
}

// rotatesAgain waits until the log is beyond a generation, by itself.
func (d *day) rotatesAgain(from uint64) error {
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if st, err := d.collector.Status(); err == nil && st.Generation > from {
			return nil
		}
	}
	return fmt.Errorf("the log does not rotate again: it is at generation %d still", from)
}

// readOnly keeps names in dir from changing, for root too where it can.
func readOnly(dir string) (lock func() error, unlock func()) {
	if os.Getuid() != 0 {
		return func() error { return os.Chmod(dir, 0o550) }, func() { os.Chmod(dir, 0o750) }
	}
	chattr := func(flag string) error {
		out, err := exec.Command("chattr", flag, dir).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: root may rename anything, and chattr %s: %v: %s", ErrUnable, flag, err, out)
		}
		return nil
	}
	return func() error { return chattr("+i") }, func() { chattr("-i") }
}

// NoDescriptors leaves the collector without a descriptor to open anything with,
// by idle connections, while the log has to rotate.
func (p *Programs) NoDescriptors(n int) (*Result, error) {
	const most = 64
	d, err := p.begin(plan{name: "descriptors exhausted", log: "rotate_size = \"256KiB\"\nkeep_bytes = \"off\"\n", descriptors: most})
	if err != nil {
		return nil, err
	}
	return d.rounds(n, func(int) error {
		var idle []net.Conn
		for range most {
			conn, err := net.DialTimeout("tcp", d.collector.Addr, time.Second)
			if err != nil {
				break // its queue is full, which is as good
			}
			idle = append(idle, conn)
		}
		time.Sleep(150 * time.Millisecond)
		for _, conn := range idle {
			conn.Close()
		}
		st, err := d.collector.Status()
		if err != nil {
			return err
		}
		return d.rotatesAgain(st.Generation)
	})
}
