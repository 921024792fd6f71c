package scenario

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// StateDeleted deletes the collector's state, n times, while it and the agent
// are away: the agent's saved positions keep its lines from coming twice.
func (p *Programs) StateDeleted(n int) (*Result, error) {
	return p.amnesia("state deleted", n, "^FOUND ", func(d *day, _ int) error { return os.RemoveAll(d.collector.State) })
}

// LogDeleted deletes the live file, n times, and keeps the state: what was in
// the file is gone, and nothing else.
func (p *Programs) LogDeleted(n int) (*Result, error) {
	return p.amnesia("log deleted", n, "^(GONE|STATE) ", func(d *day, i int) error { return d.deleteLog(i) })
}

// StateRestored puts the state of an earlier time back, n times: at some, the log
// has rotated since.
func (p *Programs) StateRestored(n int) (*Result, error) {
	return p.amnesia("state restored", n, "^(STATE|INTERFERENCE) ", func(d *day, i int) error {
		yesterday := filepath.Join(d.dir, "yesterday")
		if out, err := exec.Command("cp", "-a", d.collector.State, yesterday).CombinedOutput(); err != nil {
			return fmt.Errorf("copy the state: %w: %s", err, out)
		}
		if err := d.back(); err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond) // lines that the old state knows nothing of
		if i%2 == 1 {
			if err := d.collector.Ask("POST", "/rotate", nil); err != nil {
				return err
			}
			time.Sleep(50 * time.Millisecond)
		}
		if err := d.leave(); err != nil {
			return err
		}
		if err := os.RemoveAll(d.collector.State); err != nil {
			return err
		}
		return os.Rename(yesterday, d.collector.State)
	})
}

// amnesia plays a day on which the log loses a part of what it knows, while
// everybody is away, n times. Its own lines must tell of it.
func (p *Programs) amnesia(name string, n int, says string, forget func(d *day, i int) error) (*Result, error) {
	d, err := p.begin(plan{name: name, log: rotating + "compress = \"none\"\n", slow: true, amnesia: true})
	if err != nil {
		return nil, err
	}
	r, err := d.rounds(n, func(i int) error {
		moment(200 * time.Millisecond)
		if err := d.leave(); err != nil {
			return err
		}
		if err := forget(d, i); err != nil {
			return err
		}
		return d.back()
	})
	if err == nil && !r.Says(says) {
		err = fmt.Errorf("%s: no line of the log's own matches %q; there are %q", name, says, r.Said)
	}
	return r, err
}

// leave ends the agent and then the collector, politely; the sources go on.
func (d *day) leave() error {
	if _, err := d.agent.Stop(); err != nil {
		return err
	}
	_, err := d.collector.Stop()
	return err
}

// back starts them again.
func (d *day) back() error {
	if err := d.collector.Start(); err != nil {
		return err
	}
	return d.agent.Start()
}
