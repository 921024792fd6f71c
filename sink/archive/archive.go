// Package archive compresses a rotated log file into a gzip file that can be read
// from any offset of its text.
package archive

import (
	"encoding/binary"
	"path/filepath"
	"slices"
	"strings"

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

// Suffix ends an archive's name, TempSuffix that of one that is not complete.
const (
	Suffix     = ".gz"
	TempSuffix = ".gz.new"
)

// TempName is the name under which path's archive is made.
func TempName(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+TempSuffix)
}

// IsTemp reports whether name is that of a half archive, which may be
// removed whenever none is being made.
func IsTemp(name string) bool {
	return strings.HasPrefix(name, ".") && strings.HasSuffix(name, TempSuffix)
}

// SourceOfTemp is the name of the file that a half archive was made from.
func SourceOfTemp(name string) string {
	return strings.TrimSuffix(strings.TrimPrefix(name, "."), TempSuffix)
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
	dst = binary.LittleEndian.AppendUint32(dst, disk.UpdateChecksum(disk.Checksum(dst[claims:]), table))
	return append(dst, noText...)
}
