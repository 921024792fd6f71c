package sink

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"fanin/internal/disk"
)

// An archive is a rotated file packed by gzip in members of at most 1 MiB of
// text, which end at line ends wherever there is one. zcat, zgrep and gzip -t see
// nothing special. A reader can begin at any member, because empty members at the
// end carry a table of them in their extra fields (RFC 1952, 2.3.1.1). Numbers
// are little endian, as all of gzip's.
//
//	data member, as many as it takes
//	   0  1f 8b 08 00                     gzip, no extra field
//	   4  u32  when the rotated file was last written, in seconds since 1970
//	   8  04 ff                           packed fast, on no system in particular
//	  10  deflated text, CRC-32, length
//	table member, as many as it takes, with at most 8191 entries each
//	   0  1f 8b 08 04 00 00 00 00 00 ff   gzip, an extra field, no time
//	  10  u16  length of the extra field: 4 + 8n
//	  12  'F' 'T'
//	  14  u16  8n
//	  16  n times: u32 bytes of a data member, u32 bytes of its text
//	   .  03 00 00 00 00 00 00 00 00 00   nothing deflated, CRC-32, length
//	end member, the last 50 bytes of the file
//	   0  1f 8b 08 04 00 00 00 00 00 ff
//	  10  1c 00 'F' 'E' 18 00
//	  16  u64  bytes of all data members: the first table member begins here
//	  24  u64  bytes of all text
//	  32  u32  number of data members
//	  36  u32  CRC-32C of bytes 16 to 36 and of all entries
//	  40  03 00 00 00 00 00 00 00 00 00
//
// A file without such an end, or whose table does not fit it, is read like any
// other gzip file: from its beginning.
const (
	memberText   = 1 << 20
	tableEntry   = 8
	tableEntries = 8191 // what fits into the 64 KiB of an extra field
	tableMember  = 26   // bytes of a table member without its entries
	endMember    = 50
	extraMember  = "\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff"
	endField     = "\x1c\x00FE\x18\x00"
	noText       = "\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"
)

const archiveTempSuffix = ".gz.new"

// archiveTemp is the name under which path's archive is made.
func archiveTemp(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+archiveTempSuffix)
}

// isArchiveTemp reports whether name is that of a half archive, which may be
// removed whenever none is being made.
func isArchiveTemp(name string) bool {
	return strings.HasPrefix(name, ".") && strings.HasSuffix(name, archiveTempSuffix)
}

// backupOfTemp is the name of the file that a half archive was made from.
func backupOfTemp(name string) string {
	return strings.TrimSuffix(strings.TrimPrefix(name, "."), archiveTempSuffix)
}

// compressFile makes path + ".gz", with mode, from path and returns its name. When it
// returns nil, the archive is durable and was read back and compared with path,
// which is still there: removing it is the caller's, after its own checkpoint.
// Else path is as it was and there is no archive that was not there before,
// unless the last sync alone failed. It takes no more than two thirds of a core.
func compressFile(ctx context.Context, d *disk.Disk, path string, mode fs.FileMode) (archive string, err error) {
	archive, temp := path+".gz", archiveTemp(path)
	if exists(archive) { // RenameNew looks again; this saves the work
		return "", &fs.PathError{Op: "make archive", Path: archive, Err: fs.ErrExist}
	}
	src, err := d.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer src.Close()
	if err := d.Remove(temp); err != nil {
		return "", fmt.Errorf("remove a half archive: %w", err)
	}
	err = writeArchive(ctx, d, src, temp, mode)
	if err == nil {
		err = proveArchive(ctx, d, src, temp)
	}
	if err == nil {
		err = d.RenameNew(temp, archive)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("make archive %s: %w", archive, err), d.Remove(temp))
	}
	return archive, nil
}

// writeArchive writes src's archive to temp and makes it durable.
func writeArchive(ctx context.Context, d *disk.Disk, src *disk.File, temp string, mode fs.FileMode) error {
	fi, err := src.Stat()
	if err != nil {
		return err
	}
	f, err := d.Open(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	p := packer{src: src, out: f, text: make([]byte, memberText), time: fi.ModTime()}
	if p.zip, err = gzip.NewWriterLevel(io.Discard, gzip.BestSpeed); err != nil {
		return err
	}
	if err := p.pack(ctx); err != nil {
		return err
	}
	if err := cmp.Or(f.OwnAs(fi), f.Chmod(mode), os.Chtimes(temp, time.Time{}, fi.ModTime())); err != nil {
		return err
	}
	return cmp.Or(f.Sync(), f.Close())
}

// packer writes one archive.
type packer struct {
	src, out *disk.File
	zip      *gzip.Writer
	time     time.Time // when src was last written
	text     []byte    // of one member
	packed   bytes.Buffer
	table    []byte
	at, read int64 // bytes of data members, and of text
}

func (p *packer) pack(ctx context.Context) error {
	for {
		began := time.Now()
		n, err := p.next()
		if err != nil {
			return err
		}
		if n == 0 {
			_, err := p.out.Write(appendTable(nil, p.table, p.at, p.read))
			return err
		}
		if err := p.member(p.text[:n]); err != nil {
			return err
		}
		if err := pause(ctx, time.Since(began)/2); err != nil {
			return err
		}
	}
}

// next reads the next member's text.
func (p *packer) next() (int, error) {
	n, err := p.src.ReadAt(p.text, p.read)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if n == len(p.text) {
		if end := bytes.LastIndexByte(p.text, '\n') + 1; end > 0 {
			n = end
		}
	}
	return n, nil
}

func (p *packer) member(text []byte) error {
	p.packed.Reset()
	p.zip.Reset(&p.packed)
	p.zip.ModTime = p.time
	if _, err := p.zip.Write(text); err != nil {
		return err
	}
	if err := p.zip.Close(); err != nil {
		return err
	}
	if _, err := p.out.Write(p.packed.Bytes()); err != nil {
		return err
	}
	p.table = binary.LittleEndian.AppendUint32(p.table, uint32(p.packed.Len()))
	p.table = binary.LittleEndian.AppendUint32(p.table, uint32(len(text)))
	p.at += int64(p.packed.Len())
	p.read += int64(len(text))
	return nil
}

// pause lets others work. Its error is ctx's.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return ctx.Err()
}

// appendTable appends the table members and the end member to dst.
func appendTable(dst, table []byte, at, text int64) []byte {
	for piece := range slices.Chunk(table, tableEntries*tableEntry) {
		dst = append(dst, extraMember...)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(4+len(piece)))
		dst = append(dst, 'F', 'T')
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(piece)))
		dst = append(dst, piece...)
		dst = append(dst, noText...)
	}
	dst = append(dst, extraMember...)
	dst = append(dst, endField...)
	claims := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(at))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(text))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(table)/tableEntry))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Update(crc32.Checksum(dst[claims:], castagnoli), castagnoli, table))
	return append(dst, noText...)
}

// proveArchive reads the archive back through its table and compares it with src.
func proveArchive(ctx context.Context, d *disk.Disk, src *disk.File, temp string) error {
	a, err := openArchive(ctx, d, temp)
	if err != nil {
		return err
	}
	defer a.Close()
	if a.places == nil {
		return errors.New("its table does not read back as it was written")
	}
	fi, err := src.Stat()
	if err != nil {
		return err
	}
	if fi.Size() != a.Size() {
		return fmt.Errorf("%s holds %d bytes and its archive %d: somebody writes to it", src.Name(), fi.Size(), a.Size())
	}
	want, got := make([]byte, memberText/4), make([]byte, memberText/4)
	for at := int64(0); at < fi.Size(); at += int64(len(want)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := int(min(int64(len(want)), fi.Size()-at))
		if _, err := src.ReadAt(want[:n], at); err != nil {
			return err
		}
		if _, err := a.ReadAt(got[:n], at); err != nil {
			return err
		}
		if !bytes.Equal(want[:n], got[:n]) {
			return fmt.Errorf("it differs from %s between bytes %d and %d", src.Name(), at, at+int64(n))
		}
	}
	return nil
}

// archive reads a compressed file by the offsets of its text. Any gzip file will
// do; those with a table are read from any place at the cost of one member, others
// from their beginning whenever the reader turns back.
type archive struct {
	file   *disk.File
	packed int64 // bytes of the file
	size   int64 // bytes of its text

	mu     sync.Mutex
	places []place // where members begin, and where the last one ends; nil: no table
	zip    gzip.Reader
	raw    []byte // the member that text holds, packed
	text   []byte
	held   int   // the member that text holds; -1: none
	at     int64 // without a table: how far zip is in the text; -1: nowhere
}

// place is where a member begins, in the archive and in its text.
type place struct{ packed, text int64 }

// openArchive opens the archive at path. One without a table is read through
// once, for its size; ctx bounds that.
func openArchive(ctx context.Context, d *disk.Disk, path string) (*archive, error) {
	f, err := d.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	a := &archive{file: f, held: -1, at: -1}
	fi, err := f.Stat()
	if err == nil {
		a.packed = fi.Size()
		err = a.readTable()
	}
	if err == nil && a.places == nil {
		err = a.measure(ctx)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open archive %s: %w", path, err)
	}
	return a, nil
}

// Size is how many bytes of text the archive holds.
func (a *archive) Size() int64 { return a.size }

// Close closes the file.
func (a *archive) Close() error { return a.file.Close() }

// readTable reads the table. Without one that fits the file, places stays nil;
// the error is of reading alone.
func (a *archive) readTable() error {
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
	places, ok := placesOf(table)
	last := places[len(places)-1]
	if ok && last == (place{int64(at), int64(text)}) && bytes.Equal(tail, appendTable(nil, table, last.packed, last.text)) {
		a.places, a.size = places, last.text
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

// placesOf adds the entries up. None may claim more text than a member has.
func placesOf(table []byte) (places []place, ok bool) {
	places, ok = make([]place, 1, len(table)/tableEntry+1), true
	for entry := range slices.Chunk(table, tableEntry) {
		packed, text := binary.LittleEndian.Uint32(entry), binary.LittleEndian.Uint32(entry[4:])
		last := places[len(places)-1]
		places = append(places, place{last.packed + int64(packed), last.text + int64(text)})
		ok = ok && text > 0 && text <= memberText
	}
	return places, ok
}

// measure reads a file without a table to its end, which tells its size, and
// that all of it can be read.
func (a *archive) measure(ctx context.Context) error {
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

func (a *archive) rewind() error {
	a.at = 0
	if err := a.zip.Reset(bufio.NewReader(io.NewSectionReader(a.file, 0, a.packed))); err != nil {
		a.at = -1
		return a.damage(0, err)
	}
	return nil
}

// damage says what an error in the archive means for its text.
func (a *archive) damage(at int64, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s is cut off: its text ends near byte %d: %w", a.file.Name(), at, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%s is damaged near byte %d of its text: %w", a.file.Name(), at, err)
}

// ReadAt reads text at off, as io.ReaderAt does. Of an archive with a table it
// gives no byte whose member's checksum does not agree.
func (a *archive) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: a.file.Name(), Err: fs.ErrInvalid}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	whole := len(p)
	p = p[:max(0, min(int64(whole), a.size-off))]
	if a.places == nil {
		n, err = a.readOn(p, off)
	} else {
		n, err = a.readMembers(p, off)
	}
	if err == nil && n < whole {
		err = io.EOF
	}
	return n, err
}

// readMembers reads by the table.
func (a *archive) readMembers(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at := off + int64(n)
		i := sort.Search(len(a.places), func(i int) bool { return a.places[i].text > at }) - 1
		if err := a.hold(i); err != nil {
			return n, err
		}
		n += copy(p[n:], a.text[at-a.places[i].text:])
	}
	return n, nil
}

// hold unpacks member i, unless it is the one that is held already.
func (a *archive) hold(i int) error {
	if a.held == i {
		return nil
	}
	a.held = -1
	from, to := a.places[i], a.places[i+1]
	a.raw = slices.Grow(a.raw[:0], int(to.packed-from.packed))[:to.packed-from.packed]
	if _, err := a.file.ReadAt(a.raw, from.packed); err != nil {
		return err
	}
	if err := a.zip.Reset(bytes.NewReader(a.raw)); err != nil {
		return a.damage(from.text, err)
	}
	a.text = slices.Grow(a.text[:0], int(to.text-from.text))[:to.text-from.text]
	if _, err := io.ReadFull(&a.zip, a.text); err != nil {
		return a.damage(from.text, err)
	}
	// The end of the member, and with it the checksum, comes one read later.
	var more [1]byte
	if n, err := a.zip.Read(more[:]); n > 0 || !errors.Is(err, io.EOF) {
		return a.damage(from.text, cmp.Or(err, errLength))
	}
	a.held = i
	return nil
}

var errLength = errors.New("a member is longer than the table says")

// readOn reads a file without a table on from where it is, or from its beginning.
func (a *archive) readOn(p []byte, off int64) (n int, err error) {
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
