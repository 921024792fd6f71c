package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"fanin/internal/disk"
)

// stall is what keeps the writer from taking batches, for as long as it does.
type stall struct {
	since time.Time
	said  time.Time
	text  string
}

// sayAgain is how often a trouble that lasts is said.
const sayAgain = time.Minute

// suffer says what keeps the writer from going on, once a minute.
func (w *writer) suffer(cause error) {
	now := time.Now()
	if w.stall.since.IsZero() {
		w.stall.since = now
		w.s.counts.full.Add(1)
	}
	if text := remedy(cause) + "; fanin goes on by itself and loses nothing"; text != w.stall.text {
		w.stall.text, w.stall.said = text, time.Time{}
	}
	if now.Sub(w.stall.said) > sayAgain {
		w.stall.said = now
		w.s.Log.Error(w.stall.text)
	}
	w.s.setTrouble(w.stall.text)
}

// remedy says what is wrong and what to do.
func remedy(cause error) string {
	switch {
	case disk.IsFull(cause):
		return fmt.Sprintf("no room on the disk: %v; free some", cause)
	case disk.IsScarce(cause):
		return fmt.Sprintf("out of file descriptors: %v; allow more (LimitNOFILE=, ulimit -n) or have fewer connections", cause)
	case errors.Is(cause, fs.ErrNotExist):
		return fmt.Sprintf("a directory is gone: %v; make it again", cause)
	case errors.Is(cause, fs.ErrPermission), errors.Is(cause, syscall.EROFS):
		return fmt.Sprintf("not permitted: %v; permit it", cause)
	}
	return cause.Error()
}

// complaint is what was said last of a thing that keeps failing but keeps no lines.
type complaint struct {
	what string
	said time.Time
}

// complain says it once a minute.
func (w *writer) complain(what string, err error) {
	if now := time.Now(); what != w.complaint.what || now.Sub(w.complaint.said) > sayAgain {
		w.complaint = complaint{what, now}
		w.s.Log.Error(what, "path", w.s.Path, "err", err)
	}
}

// pause suffers for a moment. It returns an error only when the sink is closing.
func (w *writer) pause(cause error) error {
	w.suffer(cause)
	w.s.alive()
	select {
	case <-w.s.queue.quit:
		return fmt.Errorf("closed while waiting for room: %w", cause)
	case <-time.After(100 * time.Millisecond):
		return nil
	}
}

// settle ends a trouble, and leaves a line about it in the log.
func (w *writer) settle() {
	if w.stall.since.IsZero() {
		return
	}
	w.s.Notice("RESUMED after=%s reason=%q lost=0", time.Since(w.stall.since).Round(time.Millisecond), w.stall.text)
	w.relieve()
}

// relieve ends a trouble of which the log says enough.
func (w *writer) relieve() {
	w.stall = stall{}
	w.s.setTrouble("")
}
