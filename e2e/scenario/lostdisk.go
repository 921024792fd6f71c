package scenario

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"
)

// lostDisks is a cluster whose members lose their disks, and have an archive.
type lostDisks struct {
	*clusterDay
	recovered int // lines
}

// ClusterLostDisks kills a collector of a cluster n times, and deletes all that it had on its disk: state
// and logs. The others take over, and recover what it had, from the archive and the stream. In the end, all
// lines are read from what is left.
func ClusterLostDisks(s Shape) func(*Programs, int) (*Result, error) {
	s.Archive = true
	return func(p *Programs, n int) (*Result, error) {
		day, err := p.newCluster(s)
		if err != nil {
			return nil, err
		}
		defer day.kill()
		d := &lostDisks{clusterDay: day}
		for i := range n {
			time.Sleep(2 * time.Second)
			moment(3 * time.Second)
			if err := d.loseDisk(); err != nil {
				return nil, fmt.Errorf("disk %d: %w\n%s", i, err, d.said())
			}
		}
		r, err := d.read(&Result{Name: "cluster, lost disks", Rounds: n})
		if err == nil && d.recovered == 0 {
			err = errors.New("no line was recovered: nothing was tested")
		}
		return r, err
	}
}

// loseDisk kills a member, deletes what it has, and has the others recover it. Then it begins anew.
func (d *lostDisks) loseDisk() error {
	i := rand.IntN(len(d.members))
	m := d.members[i]
	m.Kill()
	if err := errors.Join(os.RemoveAll(m.State), os.RemoveAll(m.Logs)); err != nil {
		return err
	}
	for p := range d.Partitions {
		if err := d.recover(p, i); err != nil {
			return err
		}
	}
	return errors.Join(os.MkdirAll(m.Logs, 0o750), m.Start())
}

// recover has the owner of a partition recover what was lost of it, once that is another member than the
// one that is dead.
func (d *lostDisks) recover(p, dead int) (err error) {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		for i, m := range d.members {
			if i == dead {
				continue
			}
			var out []byte
			out, err = exec.Command(m.Path, append([]string{"cluster", "recover", fmt.Sprint(p)}, m.Args...)...).CombinedOutput()
			if err == nil {
				for line := range strings.Lines(string(out)) {
					var lines, epoch int
					fmt.Sscanf(line, fmt.Sprintf("partition %d: %%d lines of epoch %%d", p), &lines, &epoch)
					d.recovered += lines
				}
				return nil
			}
			err = fmt.Errorf("recover partition %d: %w\n%s", p, err, out)
		}
	}
	return err
}

// read waits until everything was sent, and reads it from all members and the archive.
func (d *lostDisks) read(r *Result) (*Result, error) {
	x, err := d.sent()
	if err != nil {
		return nil, err
	}
	printed, err := d.printed()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, d.said())
	}
	checked, err := x.Files([]string{printed})
	if err != nil {
		return nil, err
	}
	if r.Result = *checked; !r.OK() {
		return r, fmt.Errorf("%s\n%s\n%s", r, strings.Join(r.First, "\n"), d.said())
	}
	return r, d.auditor.end()
}
