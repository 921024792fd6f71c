package tail

import (
	"cmp"
	"slices"
)

// FileStatus is one file as it stands.
type FileStatus struct {
	Path    string `json:"path"`
	Stream  string `json:"stream"`
	Source  string `json:"source"`
	Size    int64  `json:"size"`
	Acked   int64  `json:"acked"`                // bytes that the other side keeps
	Holes   int64  `json:"hole_bytes,omitempty"` // bytes of NULs among them that were passed over
	Agreed  bool   `json:"-"`                    // it was asked, and did not find otherwise
	Trouble string `json:"trouble,omitempty"`
	Warning string `json:"warning,omitempty"` // of what is in it
}

// Status lists the files that are followed, by path.
func (t *Tailer) Status() (list []FileStatus) {
	t.mu.Lock()
	followers := make([]*Follower, 0, len(t.followers))
	for _, f := range t.followers {
		followers = append(followers, f)
	}
	t.mu.Unlock()
	for _, f := range followers {
		list = append(list, f.status())
	}
	slices.SortFunc(list, func(a, b FileStatus) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

// Counts are the tailer's counters by name.
func (t *Tailer) Counts() map[string]uint64 {
	c := &t.counts
	return map[string]uint64{
		"lines": c.lines.Load(), "bytes": c.bytes.Load(), "split_lines": c.split.Load(), "truncated_files": c.truncated.Load(),
		"skipped_bytes": c.skipped.Load(), "refused_batches": c.refused.Load(), "maybe_doubled_bytes": c.doubled.Load(), "vanished_files": c.vanished.Load(),
		"missing_files": c.missing.Load(), "unfit_files": c.unfit.Load(), "unseen_files": c.unseen.Load(), "unsure_files": c.unsure.Load(), "replaced_files": c.replaced.Load(),
		"hole_bytes": c.holes.Load(), "wide_files": c.wide.Load(), "closed_idle_files": c.closed.Load(),
	}
}
