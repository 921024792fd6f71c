package redistest

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// RepairAOF cuts the unfinished end off the append-only files in a server's directory, as
// redis-check-aof does it. Call it between a kill and the next start.
//
// Without it, Redis 7.0 may lose what it acknowledges later: where the kill cut a transaction
// short inside of a command, the server cuts the file behind the last whole command, and leaves
// the MULTI before it open. At the next start but one, all that it has added since belongs to
// a transaction without an end, and is dropped.
func RepairAOF(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "appendonlydir", "*.incr.aof"))
	for _, file := range files {
		cmd := exec.Command("redis-check-aof", "--fix", file)
		cmd.Stdin = strings.NewReader("y\n")
		if out, cerr := cmd.CombinedOutput(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("redis-check-aof --fix %s: %w\n%s", file, cerr, out))
		}
	}
	return err
}
