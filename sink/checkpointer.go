package sink

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"fanin/internal/disk"
	"fanin/internal/retry"
)

// checkpointer writes checkpoints, one at a time. It does not give up when there is no
// room: what it has to write is not yet anywhere else.
type checkpointer struct {
	disk             *disk.Disk
	dir              string
	slots            *disk.File
	catalogLog       *disk.File
	ledger           *disk.File
	ledgerGeneration uint64

	catalogLogNumber uint64
	catalogLogSize   int64
	oldCatalogLog    string // to remove once the slot names the new one

	warnings *retry.Log
	quit     <-chan struct{} // stop trying

	lack atomic.Pointer[error] // the last ENOSPC or EMFILE that keeps it waiting, nil if none
}

// write makes c count, or returns an error that is final.
func (k *checkpointer) write(c *checkpoint) error {
	if c.file != nil {
		if err := c.file.Sync(); err != nil {
			return fmt.Errorf("sync the log: %w", err)
		}
	}
	for _, step := range []func(*checkpoint) error{k.writeLedger, k.writeCatalogLog, k.writeSlot} {
		if err := k.retry(func() error { return step(c) }); err != nil {
			return err
		}
	}
	if k.oldCatalogLog != "" {
		k.disk.Remove(k.oldCatalogLog) // a left-over is removed at the next start
		k.oldCatalogLog = ""
	}
	return nil
}

// retry runs step until it has room and descriptors. Each step writes to fixed places, all of
// it again each time: a sync that failed may have dropped what it did not write.
func (k *checkpointer) retry(step func() error) error {
	defer k.lack.Store(nil)
	for {
		err := step()
		if err == nil || !disk.IsScarce(err) {
			return err
		}
		k.lack.Store(&err)
		k.warnings.Warn("checkpoint", "a checkpoint has to wait; fanin continues by itself when there is room again",
			"err", err)
		select {
		case <-k.quit:
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// lacking returns what keeps a checkpoint from being written, nil if nothing does.
func (k *checkpointer) lacking() error {
	if err := k.lack.Load(); err != nil {
		return *err
	}
	return nil
}

func (k *checkpointer) writeLedger(c *checkpoint) error {
	if k.ledger == nil || k.ledgerGeneration != c.slot.Generation {
		if err := k.openLedger(c.slot.Generation); err != nil {
			return err
		}
	}
	if len(c.records) == 0 {
		return nil
	}
	if _, err := k.ledger.WriteAt(c.records, c.slot.Ledger-int64(len(c.records))); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	return k.sync(c, k.ledger)
}

func (k *checkpointer) openLedger(generation uint64) error {
	f, err := k.disk.Open(ledgerName(k.dir, generation), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("open the ledger: %w", err)
	}
	if k.ledger != nil {
		k.ledger.Close()
	}
	k.ledger, k.ledgerGeneration = f, generation
	return k.disk.SyncDir(k.dir)
}

func (k *checkpointer) writeCatalogLog(c *checkpoint) error {
	if c.compact {
		if err := k.beginCatalogLog(c); err != nil {
			return err
		}
	}
	c.slot.CatalogLog = k.catalogLogNumber
	c.slot.CatalogLogSize = k.catalogLogSize + int64(len(c.entries))
	if len(c.entries) > 0 {
		if _, err := k.catalogLog.WriteAt(c.entries, k.catalogLogSize); err != nil {
			return fmt.Errorf("write the catalog log: %w", err)
		}
		if err := k.sync(c, k.catalogLog); err != nil {
			return err
		}
	}
	k.catalogLogSize = c.slot.CatalogLogSize
	c.entries = c.entries[:0] // they are there: a later step's new try must not append them again
	return nil
}

func (k *checkpointer) beginCatalogLog(c *checkpoint) error {
	f, err := k.disk.Open(catalogLogName(k.dir, k.catalogLogNumber+1), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return fmt.Errorf("begin a new catalog log: %w", err)
	}
	if err := k.disk.SyncDir(k.dir); err != nil {
		f.Close()
		return err
	}
	if k.catalogLog != nil {
		k.oldCatalogLog = k.catalogLog.Name()
		k.catalogLog.Close()
	}
	k.catalogLog, k.catalogLogNumber, k.catalogLogSize = f, k.catalogLogNumber+1, 0
	c.compact = false
	return nil
}

func (k *checkpointer) writeSlot(c *checkpoint) error {
	b, err := c.slot.encode()
	if err != nil {
		return err
	}
	if _, err := k.slots.WriteAt(b, int64(c.slot.Seq%2)*blockSize); err != nil {
		return fmt.Errorf("write the checkpoint: %w", err)
	}
	return k.sync(c, k.slots)
}

func (k *checkpointer) sync(c *checkpoint, f *disk.File) error {
	if !c.durable {
		return nil
	}
	return f.Sync()
}

func (k *checkpointer) close() {
	for _, f := range []*disk.File{k.slots, k.catalogLog, k.ledger} {
		if f != nil {
			f.Close()
		}
	}
}
