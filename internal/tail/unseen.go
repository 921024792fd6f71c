package tail

import (
	"context"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"fanin/internal/wire"
)

// rotatedName is what rotation appends to a name, or inserts into it.
var rotatedName = regexp.MustCompile(`^[._-]?(old|[0-9][0-9TZ._:-]*)$`)

// rotatedFrom reports whether a file's name is one that rotation makes from another name:
// app.log.1, app.log-20261122, app-2026-11-22.log, app.1.log, each perhaps compressed.
func rotatedFrom(live, name string) bool {
	ext := filepath.Ext(name)
	if slices.Contains(packed, ext) {
		name = strings.TrimSuffix(name, ext)
	}
	if rest, ok := strings.CutPrefix(name, live); ok {
		return rotatedName.MatchString(rest)
	}
	stem, suffix := strings.TrimSuffix(live, filepath.Ext(live)), filepath.Ext(live)
	rest, ok := strings.CutPrefix(name, stem)
	if !ok || suffix == "" {
		return false
	}
	rest, ok = strings.CutSuffix(rest, suffix)
	return ok && rotatedName.MatchString(rest)
}

// reused is a path that another file has now.
type reused struct {
	path  string
	since time.Time // when the previous file was last written to
}

// noteReusedLocked notes that another file has a path now.
func (t *Tailer) noteReusedLocked(path string, since time.Time) {
	t.reused = append(t.reused, reused{path, since})
}

// seekUnseen searches at all paths that got another file since the last search.
func (t *Tailer) seekUnseen(ctx context.Context) {
	t.mu.Lock()
	list := t.reused
	t.reused = nil
	t.mu.Unlock()
	if len(list) == 0 {
		return
	}
	s := t.newSearch()
	defer s.close()
	all := t.registered()
	for _, h := range list {
		t.unseen(ctx, s, all, h)
	}
}

// noteReusedMeanwhile notes the paths that got another file while no process followed them,
// by the saved positions of the last one.
func (t *Tailer) noteReusedMeanwhile(before map[wire.StreamID]*savedPosition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, m := range before {
		g := t.byPath[m.path]
		if g != nil && g == t.claims[id] && m.Offset == 0 && g.changedSince(t.positions.written) {
			t.noteReusedLocked(m.path, t.positions.written) // no place shows whether it was copied and truncated
			continue
		}
		if m.path == "" || g != nil && g == t.claims[id] {
			continue
		}
		since := t.positions.written
		if f := t.claims[id]; f != nil {
			f.mu.Lock()
			since = f.modified
			f.mu.Unlock()
		}
		t.noteReusedLocked(m.path, since)
	}
}

// changedSince reports whether the file was written to, or truncated, since then.
func (f *follower) changedSince(then time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !then.IsZero() && f.modified.After(then)
}

// unseen finds files that had a path for a while since an older one had it: rotation renamed
// them before they were seen, and no table names them. Names, dates and contents must agree.
// They are followed; those that are compressed by now can only be reported.
func (t *Tailer) unseen(ctx context.Context, s *search, all []*savedPosition, h reused) {
	var found []*sibling
	for _, x := range s.in(filepath.Dir(h.path)).files {
		if x.by != nil || x.path == h.path || x.info.ModTime().Before(h.since) ||
			!rotatedFrom(filepath.Base(h.path), filepath.Base(x.path)) {
			continue
		}
		if slices.Contains(packed, filepath.Ext(x.path)) {
			if x.info.ModTime().After(h.since) { // otherwise it is the previous file itself
				t.reportPacked(x.path)
			}
			continue
		}
		if t.names(x.path) || t.tableOf(h.path).Excludes(x.path) {
			continue // the next look finds it, or it is excluded
		}
		f := x.open(t)
		switch {
		case f == nil, slices.ContainsFunc(all, f.has):
		case t.looksLikeCopy(f) && f.original != nil:
			if t.warnOnce(x.path, "a new file with a rotated name looks like a copy of another file; it is not sent") {
				t.counts.unsure.Add(1)
			}
		default:
			found = append(found, x)
		}
	}
	slices.SortFunc(found, func(a, b *sibling) int { return a.info.ModTime().Compare(b.info.ModTime()) })
	for _, x := range found {
		f := x.f
		x.f, x.by = nil, f
		t.inherit(f, h.path)
		f.maybeCopy = true
		t.counts.unseen.Add(1)
		t.Log.Warn("a file was created and rotated before it was seen; it is sent now", "path", f.path, "for", h.path)
		t.start(ctx, f)
	}
}

// reportPacked reports once a rotated file that was compressed, unless it was followed before.
func (t *Tailer) reportPacked(path string) {
	t.mu.Lock()
	known := t.byPath[strings.TrimSuffix(path, filepath.Ext(path))] != nil
	t.mu.Unlock()
	if !known && t.warnOnce(path, "a file was rotated and compressed before it was seen; "+
		"lines in it may not have been sent: decompress it under a name that is followed") {
		t.counts.unsure.Add(1)
	}
}

// registered lists all known streams, followed or not.
func (t *Tailer) registered() []*savedPosition {
	list := t.positions.all()
	t.session.mergeInto(list)
	return slices.Collect(maps.Values(list))
}
