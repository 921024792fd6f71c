package tail

import (
	"cmp"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"fanin/internal/disk"
)

// FileStatus is the state of one file.
type FileStatus struct {
	Path    string `json:"path"`
	Stream  string `json:"stream"`
	Source  string `json:"source"`
	Size    int64  `json:"size"`
	Acked   int64  `json:"acked"`                // bytes that are acknowledged
	Holes   int64  `json:"hole_bytes,omitempty"` // bytes of NULs among them that were skipped
	Agreed  bool   `json:"-"`                    // the collector confirmed the acknowledged place
	Trouble string `json:"trouble,omitempty"`
	Warning string `json:"warning,omitempty"` // about its content

	Damage string `json:"damage,omitempty"`       // of an archive: why nothing behind Size can be read
	Twin   string `json:"same_text_as,omitempty"` // the archive with the same text, which is sent instead

	Unpacked int64 `json:"-"` // bytes of an archive's text that were unpacked, perhaps more than once

	Waiting time.Duration `json:"-"` // for how long its oldest line has waited to be acknowledged; 0: none waits
	Stalled time.Duration `json:"-"` // for how long lines have waited and none was acknowledged
	Reason  string        `json:"-"` // what it waits for, where that is known
}

// report is what is reported of a file. Under follower.mu.
type report struct {
	trouble string
	warning string // about the file's content
	holes   int64  // bytes of holes that were skipped
	refusal string // the reason for which the collector last refused lines
	stuck   bool   // the last attempt to read the file, or to have its lines accepted, failed

	lag    lag
	waits  string    // what the follower waits for; "": an answer, or lines
	rest   int64     // the size at which all whole lines were acknowledged
	record bool      // what is behind that is a record, which ends by time
	moved  time.Time // when something was last acknowledged
}

// setWaits notes what the follower waits for; "" says that it goes on.
func (f *follower) setWaits(text string) {
	f.mu.Lock()
	f.report.waits = text
	f.mu.Unlock()
}

// setStuck notes that lines behind those of the file need not wait for them.
func (f *follower) setStuck() {
	f.mu.Lock()
	f.report.stuck = true
	f.mu.Unlock()
}

func (f *follower) setTrouble(text string) {
	f.mu.Lock()
	f.report.trouble = text
	f.mu.Unlock()
}

// reportRefusal reports why nothing of the file is accepted: once for each reason, for
// each attempt may fail in the same way for days.
func (f *follower) reportRefusal(err error, pause time.Duration) {
	f.mu.Lock()
	news := f.report.refusal != err.Error()
	f.report.refusal, f.report.trouble = err.Error(), "refused, next try in "+pause.String()+": "+err.Error()
	f.mu.Unlock()
	if news {
		f.t.Log.Error("the collector refuses lines of this file; they stay in it, and are retried ever less often",
			"path", f.path, "offset", f.place.local.Offset, "err", err)
	}
}

func (f *follower) status() FileStatus {
	size, now := f.file.size(), time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	st := FileStatus{Path: f.path, Stream: f.place.stream.String(), Source: f.source, Size: size,
		Acked: f.place.local.Offset, Agreed: f.place.agreed, Holes: f.report.holes,
		Trouble: f.report.trouble, Warning: f.report.warning, Twin: f.unpacking.twin}
	if a := f.file.f.archive; a != nil {
		st.Unpacked = a.work.Load()
		if err := a.damaged(); err != nil {
			st.Damage = err.Error()
		}
	}
	f.report.lag.saw(size, st.Acked, now)
	f.waitingLocked(&st, now)
	return st
}

// unanswered lists the files of saved positions that are where they were. Their lines have
// waited at least since the last of them was written.
func (t *Tailer) unanswered(positions *savedPositions) (list []FileStatus) {
	for _, m := range positions.all() {
		fi, err := os.Stat(m.path)
		if err != nil || disk.Inode(fi) != m.inode {
			continue
		}
		st := FileStatus{Path: m.path, Stream: m.Stream.String(), Source: t.tableOf(m.path).source(m.path),
			Size: fi.Size(), Acked: m.Offset, Reason: "waits for the first answer of a collector"}
		if st.Size > st.Acked {
			st.Waiting = max(time.Since(fi.ModTime()), 1)
			st.Stalled = min(st.Waiting, max(time.Since(t.began), 1))
		}
		list = append(list, st)
	}
	return list
}

// waitingLocked sets for how long lines wait, and for what.
func (f *follower) waitingLocked(st *FileStatus, now time.Time) {
	st.Reason = cmp.Or(f.report.trouble, f.report.waits)
	since := f.report.lag.since(st.Acked)
	if since.IsZero() {
		return
	}
	if f.report.rest > 0 && st.Size == f.report.rest {
		st.Reason = "its last line has no end yet"
		if f.report.record {
			st.Reason = "its last record may have more lines"
		}
		return
	}
	st.Waiting = max(now.Sub(since), 1)
	if st.Stalled = st.Waiting; f.report.moved.After(since) {
		st.Stalled = max(now.Sub(f.report.moved), 1)
	}
}

// Stalled lists the files whose lines have waited for at least this long, while none was
// acknowledged. It reads no file, so it costs little.
func (t *Tailer) Stalled(least time.Duration) (list []FileStatus) {
	t.mu.Lock()
	followers := t.allLocked()
	t.mu.Unlock()
	now := time.Now()
	for _, f := range followers {
		f.mu.Lock()
		st := FileStatus{Path: f.path, Source: f.source, Size: f.reading.eof.Load(), Acked: f.place.local.Offset}
		f.waitingLocked(&st, now)
		f.mu.Unlock()
		if st.Stalled >= least {
			list = append(list, st)
		}
	}
	slices.SortFunc(list, func(a, b FileStatus) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

// Status lists the followed files, by path. As long as no collector has answered, none is
// followed; then it lists the files that were followed before, and still exist.
func (t *Tailer) Status() (list []FileStatus) {
	t.mu.Lock()
	followers, positions := t.allLocked(), t.positions
	t.mu.Unlock()
	if w, _ := t.session.last(); w == nil && !t.Lossy && positions != nil {
		list = t.unanswered(positions)
	}
	for _, f := range followers {
		list = append(list, f.status())
	}
	slices.SortFunc(list, func(a, b FileStatus) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

// counts is what the tailer counts.
type counts struct {
	lines, bytes, split, skipped, holes          atomic.Uint64 // what was acknowledged
	truncated, replaced, unsure, unseen, doubled atomic.Uint64 // what became of files
	vanished, missing, unfit, wide, closed       atomic.Uint64
	refused, unfitLines, divided                 atomic.Uint64
	lookCounts
}

// lookCounts is what the last look counted.
type lookCounts struct {
	ignored, unclaimed, directories, watched atomic.Uint64
}

// Counts are the tailer's counters by name.
func (t *Tailer) Counts() map[string]uint64 {
	c := &t.counts
	return map[string]uint64{
		"lines": c.lines.Load(), "bytes": c.bytes.Load(), "split_lines": c.split.Load(),
		"skipped_bytes": c.skipped.Load(), "hole_bytes": c.holes.Load(), "refused_batches": c.refused.Load(),
		"truncated_files": c.truncated.Load(), "replaced_files": c.replaced.Load(), "unsure_files": c.unsure.Load(),
		"unseen_files": c.unseen.Load(), "maybe_doubled_bytes": c.doubled.Load(),
		"vanished_files": c.vanished.Load(), "missing_files": c.missing.Load(), "unfit_files": c.unfit.Load(),
		"wide_files": c.wide.Load(), "unfit_lines": c.unfitLines.Load(), "divided_records": c.divided.Load(),
		"closed_idle_files": c.closed.Load(), "ignored_files": c.ignored.Load(), "waiting_files": c.unclaimed.Load(),
		"read_directories": c.directories.Load(), "watched_directories": c.watched.Load(),
	}
}
