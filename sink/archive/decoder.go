package archive

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"sort"

	"github.com/klauspost/compress/gzip"
)

// Decoder decompresses members of archives. Several of them may work on one archive at the same
// time, each in a goroutine of its own. The zero Decoder is ready.
type Decoder struct {
	fast inflater
	zip  gzip.Reader
	raw  []byte // a member, packed
	in   bytes.Reader
}

// Members returns how many members the archive has that can be decompressed by themselves; 0 if
// it has no table.
func (a *Reader) Members() int { return max(0, len(a.members)-1) }

// Member returns where the text of member i begins and ends.
func (a *Reader) Member(i int) (begin, end int64) { return a.members[i].text, a.members[i+1].text }

// MemberAt returns the member that has the text at off. It is for an archive with a table.
func (a *Reader) MemberAt(off int64) int {
	return sort.Search(len(a.members), func(i int) bool { return a.members[i].text > off }) - 1
}

// Decode returns the text of member i, in buf if that is large enough. It returns no text of
// which the checksum does not match.
func (d *Decoder) Decode(a *Reader, i int, buf []byte) (text []byte, err error) {
	from, to := a.members[i], a.members[i+1]
	d.raw = slices.Grow(d.raw[:0], int(to.packed-from.packed))[:to.packed-from.packed]
	if _, err := a.file.ReadAt(d.raw, from.packed); err != nil {
		return nil, err
	}
	text = slices.Grow(buf[:0], int(to.text-from.text))[:to.text-from.text]
	if d.inflate(text) {
		return text, nil
	}
	// It is damaged, or has more fields than our own archives. The library tells.
	d.in.Reset(d.raw)
	if err := d.zip.Reset(&d.in); err != nil {
		return nil, a.damage(from.text, err)
	}
	if _, err := io.ReadFull(&d.zip, text); err != nil {
		return nil, a.damage(from.text, err)
	}
	// The end of the member, and with it the checksum, comes one read later.
	var more [1]byte
	if n, err := d.zip.Read(more[:]); n > 0 || !errors.Is(err, io.EOF) {
		return nil, a.damage(from.text, cmp.Or(err, errLength))
	}
	return text, nil
}

// memberHeader and memberTrailer are how many bytes a member has around its deflated text: a header
// without further fields, and a CRC-32 and the length (RFC 1952).
const (
	memberHeader  = 10
	memberTrailer = 8
)

// inflate decompresses a member as our own archives have them, and reports whether its checksum and
// its length match.
func (d *Decoder) inflate(text []byte) bool {
	raw := d.raw
	if len(raw) < memberHeader+memberTrailer || string(raw[:4]) != "\x1f\x8b\x08\x00" {
		return false
	}
	body := raw[memberHeader : len(raw)-memberTrailer]
	n, err := d.fast.inflate(text, body)
	trailer := raw[len(raw)-memberTrailer:]
	return err == nil && n == len(body) && binary.LittleEndian.Uint32(trailer) == crc32.ChecksumIEEE(text) &&
		binary.LittleEndian.Uint32(trailer[4:]) == uint32(len(text))
}
