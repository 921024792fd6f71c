package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

func (a *agent) instancePath() string { return filepath.Join(a.settings.Agent.State, "instance") }

// nextRun reads the identity of this installation, or creates it the first time, and counts
// the run: of two runs of one instance, the collector keeps the later one.
//
// A full disk keeps no known identity from its work: what fills the disk may be a spool, which only sending
// makes shorter. The next run has a later number all the same, by the clock.
func nextRun(path string) (id wire.StreamID, run int64, err error) {
	b, err := os.ReadFile(path)
	fields := strings.Fields(string(b))
	if len(fields) == 2 {
		id, err = wire.ParseStreamID(fields[0])
		if last, perr := strconv.ParseInt(fields[1], 10, 64); perr == nil {
			run = last
		}
	}
	known := !id.IsZero() && err == nil
	if !known {
		id = wire.NewStreamID()
	}
	run = max(run+1, time.Now().UnixNano())
	if err = writeInstance(path, id, run); known && disk.IsFull(err) {
		err = nil
	}
	return id, run, err
}

func writeInstance(path string, id wire.StreamID, run int64) error {
	if err := new(disk.Disk).WriteFile(path, fmt.Appendf(nil, "%s %d\n", id, run), 0o640); err != nil {
		return fmt.Errorf("write this agent's identity into its state: %w", err)
	}
	return nil
}
