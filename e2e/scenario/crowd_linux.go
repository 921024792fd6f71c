package scenario

import (
	"fmt"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// split lets the collector have one processor, and this process another.
func (d *crowdDay) split() error {
	if runtime.NumCPU() < 2 {
		return fmt.Errorf("%w: there is one processor", ErrUnable)
	}
	d.collector.Under = []string{"taskset", "-c", "0"}
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	var one unix.CPUSet
	one.Set(1)
	for _, task := range tasks { // those to come have it from these
		var id int
		if _, err := fmt.Sscan(filepath.Base(task), &id); err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &one); err != nil && err != unix.ESRCH {
			return err
		}
	}
	runtime.GOMAXPROCS(1)
	return nil
}
