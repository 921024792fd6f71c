package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"fanin/internal/disk"
	"fanin/internal/retry"
)

// How long verify waits for a collector that is about to rotate or compress a file.
const (
	lookAgain  = 50 * time.Millisecond
	looksAgain = 40
)

// open opens a generation's text, decompressed. A running collector rotates, compresses
// and removes files meanwhile, so one that is not there is looked up again: it may have
// another name by now. The text is nil if the file was removed.
func (v *verifier) open(ctx context.Context, g *generation) (text *fileText, now *generation, err error) {
	for looks := 0; ; looks++ {
		text, err := v.openFile(ctx, g)
		if !errors.Is(err, fs.ErrNotExist) {
			return text, g, err
		}
		now, failed := v.lookUp(g.number)
		switch {
		case failed == nil && (now == nil || now.state == stateRemoved || now.state == stateLost):
			v.note("%s was removed meanwhile", g.name)
			return nil, nil, nil
		case failed == nil && (now.state != g.state || now.name != g.name):
			g = now
		case looks == looksAgain:
			return nil, nil, err
		default: // renamed, and not yet recorded; or the catalog log itself is being replaced
			if retry.Pause(ctx, lookAgain) != nil {
				return nil, nil, ctx.Err()
			}
		}
	}
}

// lookUp returns what the newest checkpoint has of a generation, nil if it has none.
func (v *verifier) lookUp(number uint64) (*generation, error) {
	slot, err := readCheckpoint(v.state)
	if err != nil || slot == nil {
		return nil, cmp.Or(err, error(fs.ErrNotExist))
	}
	c, err := readCatalogLog(nil, v.state, slot.CatalogLog, slot.CatalogLogSize)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(c.generations, func(g *generation) bool { return g.number == number })
	if i < 0 {
		return nil, nil
	}
	return c.generations[i], nil
}

// openFile opens a generation's text, in whichever form it is there.
func (v *verifier) openFile(ctx context.Context, g *generation) (*fileText, error) {
	text, err := v.openForm(ctx, g)
	if x := g.listed().sibling(); errors.Is(err, fs.ErrNotExist) && x.Name != "" {
		other := *g
		other.name, other.state = x.Name, x.State
		if found, ferr := v.openForm(ctx, &other); ferr == nil {
			return found, nil
		}
	}
	return text, err
}

// openForm opens a generation's text under the name that g has. The inode distinguishes
// the live file from one that has its name by now.
func (v *verifier) openForm(ctx context.Context, g *generation) (*fileText, error) {
	path := filepath.Join(filepath.Dir(v.path), g.name)
	if g.state == stateGzip {
		return archivedText(ctx, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && g.state == stateLive && disk.Inode(fi) != v.slot.Inode {
		err = fmt.Errorf("%s is another file by now: %w", g.name, fs.ErrNotExist)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return plainText(ctx, f), nil
}
