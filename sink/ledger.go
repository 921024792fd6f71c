package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

func ledgerName(dir string, generation uint64) string {
	return filepath.Join(dir, fmt.Sprintf("ledger-%08d", generation))
}

// lastLedger is the highest generation that has a ledger in dir, 0 if none has.
func lastLedger(dir string) (last uint64) {
	entries, _ := os.ReadDir(dir) // without it, the log could not have been opened
	for _, e := range entries {
		var n uint64
		if _, err := fmt.Sscanf(e.Name(), "ledger-%d", &n); err == nil && ledgerName("", n) == e.Name() {
			last = max(last, n)
		}
	}
	return last
}

// ledger calls each with the records of a generation's ledger, until it returns false.
// Damaged records are left out. A generation without a ledger has no records.
func (s *Sink) ledger(ctx context.Context, generation uint64, each func(r *record) bool) error {
	f, err := os.Open(ledgerName(s.State, generation))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	defer f.Close()
	buf := make([]byte, 4096*recordSize)
	var r record
	for {
		n, err := io.ReadFull(f, buf)
		for i := 0; i+recordSize <= n; i += recordSize {
			if r.parse(buf[i:]) == nil && !each(&r) {
				return nil
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("read the ledger of generation %d: %w", generation, err)
		}
	}
}
