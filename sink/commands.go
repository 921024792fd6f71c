package sink

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// Rotation is the result of a rotation.
type Rotation struct {
	Generation uint64 `json:"generation"` // the one that was closed
	Name       string `json:"name"`       // its backup's base name; empty when there was nothing to rotate
	Size       int64  `json:"size"`
}

// Rotate closes the live file and begins a new one, unless it is empty.
func (s *Sink) Rotate(ctx context.Context) (Rotation, error) { return s.RotateNoted(ctx, func() {}) }

// RotateNoted is Rotate, with a note in the file that is closed: post is called if there is
// something to rotate, and the notices that it posts are the file's last lines. So a file with
// nothing but such a note is never made.
func (s *Sink) RotateNoted(ctx context.Context, post func()) (Rotation, error) {
	var r Rotation
	var blocked error
	err := s.do(ctx, func(w *writer) error {
		if w.file.size == 0 {
			r.Generation = w.catalog.live().number
			return nil
		}
		post()
		w.acceptNotices()
		if err := w.commit(); err != nil {
			return err
		}
		old := w.catalog.live()
		w.nextFile.rotateAfter = time.Time{}
		if err := w.rotate("demand"); err != nil {
			return err
		}
		if w.catalog.live() == old {
			blocked = fmt.Errorf("%s could not be moved aside; for the reason see the collector's messages", s.Path)
		}
		r = Rotation{Generation: old.number, Name: old.name, Size: old.size}
		return nil
	})
	return r, cmp.Or(err, blocked)
}

// Reopen looks whether Path still names the file that is written to, and begins
// a new file there if not.
func (s *Sink) Reopen(ctx context.Context) error {
	return s.do(ctx, func(w *writer) error {
		if why := w.file.interference(s.Path); why != "" {
			return w.replace(why)
		}
		return nil
	})
}

// Checkpoint writes all that was committed to the ledger and the catalog log, where a
// reader of the files alone finds it.
func (s *Sink) Checkpoint(ctx context.Context) error {
	return s.do(ctx, func(w *writer) error { return w.checkpoint() })
}
