package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"fanin/internal/disk"
	"fanin/internal/retry"
)

// observed is a log that another process writes, or none.
type observed struct {
	mu         sync.Mutex // one look at a time
	generation uint64     // the live one, when the catalog was read; 0: it was not
}

// Observe returns the log at path to be read, while its collector runs or when none does: as the last checkpoint has
// it, and the live file to its end. Nothing is locked and nothing is written. Only what reads may be called: Reader,
// Search, Since, Resolve, End, Matcher, Parts and their like. What comes later is seen after Refresh. state may be
// empty for the default place, and format for the default one.
func Observe(ctx context.Context, path, state, format string) (*Sink, error) {
	s := &Sink{Path: path, State: state, Format: format}
	if err := s.defaults(); err != nil {
		return nil, err
	}
	s.counts, s.view.observed = newCounts(nil), new(observed)
	return s, s.Refresh(ctx)
}

// Refresh looks at an observed log again. A collector that rotates its file just now is waited for.
func (s *Sink) Refresh(ctx context.Context) error {
	for looks := 0; ; looks++ {
		settled, err := s.look(false)
		if settled || err != nil {
			return err
		}
		if looks == looksAgain {
			return s.unsettled()
		}
		if err := retry.Pause(ctx, lookAgain); err != nil {
			return err
		}
	}
}

// unsettled is why nothing is known of an observed log; nil: something is.
func (s *Sink) unsettled() error {
	o := s.view.observed
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.generation == 0 {
		return fmt.Errorf("%s has a checkpoint, and not the catalog log that it names: %w", s.State, fs.ErrNotExist)
	}
	return nil
}

// look looks at an observed log once. It reads the catalog if there is another live file, or if that is wanted. settled
// is false while files are being moved: then the next look may see more.
func (s *Sink) look(catalogToo bool) (settled bool, err error) {
	o := s.view.observed
	o.mu.Lock()
	defer o.mu.Unlock()
	slot, err := readCheckpoint(s.State)
	if err == nil && slot == nil {
		err = fmt.Errorf("%s holds no state of a log: %w", s.State, fs.ErrNotExist)
	}
	if err != nil {
		return false, err
	}
	c := s.view.catalog // only looks change it
	if catalogToo || slot.Generation != o.generation {
		if c, err = readCatalogLog(nil, s.State, slot.CatalogLog, slot.CatalogLogSize); errors.Is(err, fs.ErrNotExist) {
			return false, nil // it was just replaced
		}
		if err != nil {
			return false, err
		}
		if c.log, c.logIncarnation, err = slot.ids(); err != nil {
			return false, fmt.Errorf("the checkpoint in %s: %w", s.State, err)
		}
	}
	size := slot.Size
	if slot.Generation == o.generation {
		size = s.view.size
	}
	fi, err := os.Stat(s.Path)
	if settled = err == nil && disk.Inode(fi) == slot.Inode; settled {
		size = fi.Size()
	}
	o.generation = slot.Generation
	s.publish(c, size)
	return settled, nil
}

// publish lets readers of an observed log see what a look has seen.
func (s *Sink) publish(c *catalog, size int64) {
	s.view.mu.Lock()
	defer s.view.mu.Unlock()
	grown := s.view.catalog != c || s.view.size != size
	s.view.catalog, s.view.size = c, size
	if grown && s.view.grown != nil {
		close(s.view.grown)
		s.view.grown = nil
	}
}
