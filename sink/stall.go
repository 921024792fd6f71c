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
	since    time.Time // zero: nothing does
	reported time.Time
	text     string
}

// reportEvery is how often a stall that lasts is reported.
const reportEvery = time.Minute

// reportStall reports what keeps the writer from continuing, once a minute.
func (w *writer) reportStall(cause error) {
	now := time.Now()
	if w.stall.since.IsZero() {
		w.stall.since = now
		w.s.counts.full.Add(1)
	}
	if text := remedy(cause) + "; fanin continues by itself and loses nothing"; text != w.stall.text {
		w.stall.text, w.stall.reported = text, time.Time{}
	}
	if now.Sub(w.stall.reported) > reportEvery {
		w.stall.reported = now
		w.s.Log.Error(w.stall.text)
	}
	w.s.setTrouble(w.stall.text)
}

// remedy describes what is wrong and what to do.
func remedy(cause error) string {
	switch {
	case disk.IsFull(cause):
		return fmt.Sprintf("no room on the disk: %v; free some space", cause)
	case disk.IsScarce(cause):
		return fmt.Sprintf("out of file descriptors: %v; raise the limit (LimitNOFILE=, ulimit -n) or reduce "+
			"the number of connections", cause)
	case errors.Is(cause, fs.ErrNotExist):
		return fmt.Sprintf("a directory is gone: %v; create it again", cause)
	case errors.Is(cause, fs.ErrPermission), errors.Is(cause, syscall.EROFS):
		return fmt.Sprintf("not permitted: %v; change the permissions", cause)
	}
	return cause.Error()
}

// pause reports a stall and waits for a moment. It returns an error only when the sink
// is closing.
func (w *writer) pause(cause error) error {
	w.reportStall(cause)
	w.s.alive()
	select {
	case <-w.s.queue.quit:
		return fmt.Errorf("closed while waiting for room: %w", cause)
	case <-time.After(100 * time.Millisecond):
		return nil
	}
}

// clearStall ends a stall, and posts a notice of it.
func (w *writer) clearStall() {
	if w.stall.since.IsZero() {
		return
	}
	w.s.Notice("RESUMED after=%s reason=%q lost=0", time.Since(w.stall.since).Round(time.Millisecond), w.stall.text)
	w.endStall()
}

// endStall ends a stall without a notice: another one describes it.
func (w *writer) endStall() {
	w.stall = stall{}
	w.s.setTrouble("")
}
