package archive

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"

	"fanin/internal/disk"
)

// Reader reads a compressed file by the offsets of its text. Any gzip file will
// do; those with a table are read from any place at the cost of one member, others
// from their beginning whenever the reader turns back.
type Reader struct {
	file   *disk.File
	packed int64 // bytes of the file
	size   int64 // bytes of its text

	mu      sync.Mutex
	members []member // where members begin, and where the last one ends; nil: no table
	zip     gzip.Reader
	decoder Decoder
	text    []byte
	held    int   // the member that text holds; -1: none
	at      int64 // without a table: how far zip is in the text; -1: nowhere
}

// member is where a member begins, in the archive and in its text.
type member struct{ packed, text int64 }

// Open opens the archive at path. One without a table is read through
// once, for its size; ctx bounds that.
func Open(ctx context.Context, d *disk.Disk, path string) (*Reader, error) {
	a, err := OpenMembers(d, path)
	if err != nil || a.members != nil {
		return a, err
	}
	if err := a.measure(ctx); err != nil {
		a.Close()
		return nil, fmt.Errorf("open archive %s: %w", path, err)
	}
	return a, nil
}

// OpenMembers opens the archive at path to decompress its members. Nothing of its text is read:
// one without a table has no members and no size, and is good for Text alone.
func OpenMembers(d *disk.Disk, path string) (*Reader, error) {
	f, err := d.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	a := &Reader{file: f, held: -1, at: -1}
	fi, err := f.Stat()
	if err == nil {
		a.packed = fi.Size()
		err = a.readTable()
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open archive %s: %w", path, err)
	}
	return a, nil
}

// Text reads the text from its beginning. Nothing else may read the archive meanwhile.
func (a *Reader) Text() (io.Reader, error) {
	if err := a.rewind(); err != nil {
		return nil, err
	}
	return &a.zip, nil
}

// Size is how many bytes of text the archive holds.
func (a *Reader) Size() int64 { return a.size }

// Close closes the file.
func (a *Reader) Close() error { return a.file.Close() }

// readTable reads the table. Without one that fits the file, members stays nil;
// the error is of reading alone.
func (a *Reader) readTable() error {
	if a.packed < endMember {
		return nil
	}
	end := make([]byte, endMember)
	if _, err := a.file.ReadAt(end, a.packed-endMember); err != nil {
		return err
	}
	claims := end[len(extraMember)+len(endField):]
	at, text := binary.LittleEndian.Uint64(claims), binary.LittleEndian.Uint64(claims[8:])
	n := int64(binary.LittleEndian.Uint32(claims[16:]))
	room := n*tableEntry + (n+tableEntries-1)/tableEntries*tableMember + endMember
	if room > a.packed || at != uint64(a.packed-room) {
		return nil // room is no more than the file from here on
	}
	tail := make([]byte, room)
	if _, err := a.file.ReadAt(tail, int64(at)); err != nil {
		return err
	}
	table := entriesOf(tail, int(n))
	members, ok := membersOf(table)
	last := members[len(members)-1]
	if ok && last == (member{int64(at), int64(text)}) &&
		bytes.Equal(tail, appendTable(nil, table, last.packed, last.text)) {
		a.members, a.size = members, last.text
	}
	return nil
}

// entriesOf takes n entries out of the table members that tail begins with.
func entriesOf(tail []byte, n int) (table []byte) {
	for ; n > 0; n -= tableEntries {
		entries := tail[len(extraMember)+6:][:min(n, tableEntries)*tableEntry]
		table = append(table, entries...)
		tail = tail[tableMember+len(entries):]
	}
	return table
}

// membersOf adds the entries up. None may claim more text than a member has.
func membersOf(table []byte) (members []member, ok bool) {
	members, ok = make([]member, 1, len(table)/tableEntry+1), true
	for entry := range slices.Chunk(table, tableEntry) {
		packed, text := binary.LittleEndian.Uint32(entry), binary.LittleEndian.Uint32(entry[4:])
		last := members[len(members)-1]
		members = append(members, member{last.packed + int64(packed), last.text + int64(text)})
		ok = ok && text > 0 && text <= memberText
	}
	return members, ok
}

// measure reads a file without a table to its end, for its size, and to check that all
// of it can be read.
func (a *Reader) measure(ctx context.Context) error {
	if err := a.rewind(); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := a.zip.Read(buf)
		a.at += int64(n)
		if errors.Is(err, io.EOF) {
			a.size = a.at
			return nil
		}
		if err != nil {
			return a.damage(a.at, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (a *Reader) rewind() error {
	a.at = 0
	if err := a.zip.Reset(bufio.NewReader(io.NewSectionReader(a.file, 0, a.packed))); err != nil {
		a.at = -1
		return a.damage(0, err)
	}
	return nil
}

// damage describes what an error in the archive means for its text.
func (a *Reader) damage(at int64, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s is cut off: its text ends near byte %d: %w", a.file.Name(), at, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%s is damaged near byte %d of its text: %w", a.file.Name(), at, err)
}

// ReadAt reads text at off, as io.ReaderAt does. Of an archive with a table it
// returns no byte whose member's checksum does not match.
func (a *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: a.file.Name(), Err: fs.ErrInvalid}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	whole := len(p)
	p = p[:max(0, min(int64(whole), a.size-off))]
	if a.members == nil {
		n, err = a.readOnLocked(p, off)
	} else {
		n, err = a.readMembersLocked(p, off)
	}
	if err == nil && n < whole {
		err = io.EOF
	}
	return n, err
}

// readMembersLocked reads by the table.
func (a *Reader) readMembersLocked(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at := off + int64(n)
		i := a.MemberAt(at)
		if err := a.holdLocked(i); err != nil {
			return n, err
		}
		n += copy(p[n:], a.text[at-a.members[i].text:])
	}
	return n, nil
}

// holdLocked decompresses member i, unless text holds it already.
func (a *Reader) holdLocked(i int) error {
	if a.held == i {
		return nil
	}
	a.held = -1
	text, err := a.decoder.Decode(a, i, a.text)
	if err != nil {
		return err
	}
	a.text, a.held = text, i
	return nil
}

var errLength = errors.New("a member is longer than the table says")

// readOnLocked reads a file without a table on from where it is, or from its beginning.
func (a *Reader) readOnLocked(p []byte, off int64) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	if a.at < 0 || off < a.at {
		if err := a.rewind(); err != nil {
			return 0, err
		}
	}
	skipped, err := io.CopyN(io.Discard, &a.zip, off-a.at)
	if err == nil {
		n, err = io.ReadFull(&a.zip, p)
	}
	if a.at += skipped + int64(n); err != nil {
		err = a.damage(a.at, err)
		a.at = -1
	}
	return n, err
}
