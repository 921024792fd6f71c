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

// rotatedName is what rotation adds to a name, or puts into it.
var rotatedName = regexp.MustCompile(`^[._-]?(old|[0-9][0-9TZ._:-]*)$`)

// rotatedFrom reports whether a file's name is one that rotation gives to files
// of another name: app.log.1, app.log-20261122, app-2026-11-22.log, app.1.log,
// each perhaps compressed.
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

// handed is a path that got another file.
type handed struct {
	path  string
	since time.Time // when the file before was written to last
}

// handOnLocked notes that a path got another file; under t.mu.
func (t *Tailer) handOnLocked(path string, since time.Time) {
	t.handed = append(t.handed, handed{path, since})
}

// seekUnseen looks at all paths that got another file since it did so last.
func (t *Tailer) seekUnseen(ctx context.Context) {
	t.mu.Lock()
	list := t.handed
	t.handed = nil
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

// handedMeanwhile notes the paths that got another file while this process was
// away, by the marks that it left.
func (t *Tailer) handedMeanwhile(before map[wire.StreamID]*mark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, m := range before {
		if g := t.byPath[m.path]; m.path == "" || g != nil && g == t.claims[id] {
			continue
		}
		since := t.marks.written
		if f := t.claims[id]; f != nil {
			f.mu.Lock()
			since = f.modified
			f.mu.Unlock()
		}
		t.handOnLocked(m.path, since)
	}
}

// unseen finds files that came and went under a path since an older one had it:
// rotation gave them another name before it was seen, and no table names it.
// Their names, dates and contents must say so. They are followed; what is packed
// by now can only be reported.
func (t *Tailer) unseen(ctx context.Context, s *search, all []*mark, h handed) {
	var found []*sibling
	for _, x := range s.in(filepath.Dir(h.path)).files {
		if x.by != nil || x.path == h.path || x.info.ModTime().Before(h.since) || !rotatedFrom(filepath.Base(h.path), filepath.Base(x.path)) {
			continue
		}
		if slices.Contains(packed, filepath.Ext(x.path)) {
			if t.once(x.path, "a file was rotated and compressed before it was seen; lines in it may not have been sent: unpack it under a name that is followed") {
				t.counts.unsure.Add(1)
			}
			continue
		}
		if t.names(x.path) || t.tableOf(h.path).Excludes(x.path) {
			continue // the next look finds it, or it is not to be found
		}
		f := x.open(t)
		switch {
		case f == nil, slices.ContainsFunc(all, f.has):
		case t.looksLikeCopy(f) && f.original != nil:
			if t.once(x.path, "a file that looks like a copy of another one came under a rotated name; it is not sent") {
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
		t.dress(f, h.path)
		f.maybeCopy = true
		t.counts.unseen.Add(1)
		t.Log.Warn("a file came and was rotated before it was seen; it is sent now", "path", f.path, "for", h.path)
		t.start(ctx, f)
	}
}

// registered lists all streams that anything is known of, followed or not.
func (t *Tailer) registered() []*mark {
	list := t.marks.all()
	t.session.mergeInto(list)
	return slices.Collect(maps.Values(list))
}
