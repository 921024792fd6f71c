package tail

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"

	"fanin/internal/retry"
	"fanin/internal/unpack"
	"fanin/internal/wire"
)

// unpackAtOnce is how many archives are read at a time: unpacking one may need
// unpack.MaxWindow of memory.
const unpackAtOnce = 2

// unpack makes the text of a compressed file the content of f.
func (f *file) unpack() error {
	format := unpack.Detect(f.head(unpack.HeadSize))
	if format == unpack.None {
		return nil
	}
	a, err := newArchive(f.f, format)
	f.f.archive = a
	return err
}

// unpacking is what a follower of an archive knows.
type unpacking struct {
	turn    bool // it is one of those that are read now; the goroutine's own
	damaged bool // the stream began with a damaged archive

	// Under follower.mu.
	twin string // another file with the same text, which is sent
}

func (f *follower) isArchive() bool { return f.file.f.archive != nil }

// openArchive waits until an archive may be read, reads it once to learn what it contains,
// and finds its stream. It returns only when the archive is the one to send of those with
// its text.
func (f *follower) openArchive(ctx context.Context) error {
	a := f.file.f.archive
	if a == nil {
		return nil
	}
	for {
		if !f.unpacking.turn {
			f.setWaits("waits until other archives are sent")
			select {
			case f.t.unpacking <- struct{}{}:
				f.unpacking.turn = true
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if !a.isKnown() {
			f.setWaits("it is read once, to learn what it contains")
			if err := a.scan(ctx, f.file.decoded(true)); err != nil {
				return err
			}
			f.file.begins.Store(nil)
		}
		f.reading.final = true
		twin := f.claimArchive(a)
		if twin == nil {
			return nil
		}
		f.closeArchive()
		if err := f.awaitTwin(ctx, twin); err != nil {
			return err
		}
	}
}

// closeArchive frees what reading an archive needs, and lets another one be read.
func (f *follower) closeArchive() {
	if f.unpacking.turn {
		f.file.f.archive.release()
		<-f.t.unpacking
		f.unpacking.turn = false
	}
}

// claimArchive chooses the stream of an archive. It returns the follower of another file with
// the same text, if that has the stream.
func (f *follower) claimArchive(a *archive) (twin *follower) {
	id := f.place.stream
	if id.IsZero() {
		id = a.stream()
		f.unpacking.damaged = a.damaged() != nil
		if _, w := f.t.session.watermark(id); w == nil {
			if older := f.damagedBefore(a); older != nil {
				id, f.unpacking.damaged = older.Stream, true
			}
		}
	}
	f.t.mu.Lock()
	twin = f.t.claims[id]
	if twin == f || twin == nil {
		f.t.claims[id], twin = f, nil
	}
	f.t.mu.Unlock()
	if twin == nil {
		f.mu.Lock()
		f.place.stream, f.unpacking.twin = id, ""
		f.mu.Unlock()
	}
	return twin
}

// damagedBefore finds the stream of a damaged archive whose text this one continues: the same
// archive, made whole again. Little text proves that only under the same name.
func (f *follower) damagedBefore(a *archive) (found *wire.StreamState) {
	sums := f.file.headSums()
	all := f.t.session.archivesLike(func(id *archiveIdentity) bool { return id.damaged && id.head.begins(sums) })
	slices.SortFunc(all, func(a, b *wire.StreamState) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, s := range all {
		id, err := parseArchiveIdentity(s.Identity)
		if err != nil || s.Offset == 0 || s.Offset < leastProof && id.path != f.path {
			continue
		}
		if f.file.size() >= s.Offset && f.file.holds(s.Point) {
			found = s
		}
	}
	return found
}

// awaitTwin waits while another file with the same text is sent. When it is acknowledged, so
// is this one, and there is nothing more to do.
func (f *follower) awaitTwin(ctx context.Context, twin *follower) error {
	size := f.file.size()
	f.mu.Lock()
	f.unpacking.twin = twin.path
	f.mu.Unlock()
	f.setWaits("waits for another archive with the same text, which is sent: " + twin.path)
	twin.mu.Lock()
	done := twin.place.agreed && twin.place.local.Offset >= size
	twin.mu.Unlock()
	if !done {
		return retry.Pause(ctx, f.t.Poll)
	}
	f.mu.Lock()
	f.place.local.Offset, f.place.agreed, f.report.waits = size, true, ""
	f.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

// archiveIdentity is what the collector keeps of an archive:
//
//	0 kind, 5 · 1 damaged, 1 or 0 · 2 bits of the head · its hash, 8 bytes, little endian ·
//	the path, to the end
//
// Of a path that is too long, its end is kept.
type archiveIdentity struct {
	damaged bool // the stream began with a damaged archive
	head    head // of the text
	path    string
}

// The first byte of an identity says what the source of a stream is. Those of other sources
// than files and archives are in the packages that send them.
const (
	lastFileKind = 2 // of files: the version of the identity
	archiveKind  = 5
)

// Owns reports whether a stream is one of a file or an archive, by its identity.
func Owns(identity []byte) bool {
	return len(identity) == 0 || identity[0] <= lastFileKind || identity[0] == archiveKind
}

func (id *archiveIdentity) append(dst []byte) []byte {
	damaged := byte(0)
	if id.damaged {
		damaged = 1
	}
	dst = append(dst, archiveKind, damaged, id.head.bits)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(id.head.sum))
	return append(dst, lastBytes(id.path, wire.MaxIdentity-len(dst))...)
}

func parseArchiveIdentity(b []byte) (id archiveIdentity, err error) {
	if len(b) < 11 || b[0] != archiveKind {
		return id, errIdentity
	}
	id.damaged = b[1] != 0
	id.head = head{bits: b[2], sum: wire.Hash(binary.LittleEndian.Uint64(b[3:]))}
	id.path = string(b[11:])
	return id, nil
}

// archivesLike lists the streams of archives that fit.
func (s *session) archivesLike(fits func(*archiveIdentity) bool) (list []*wire.StreamState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.archives {
		if id, err := parseArchiveIdentity(x.Identity); err == nil && fits(&id) {
			list = append(list, x)
		}
	}
	return list
}
