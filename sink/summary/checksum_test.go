package summary

import (
	"encoding/binary"

	"fanin/internal/disk"
)

// fixChecksums sets the checksums of a summary right.
func fixChecksums(b []byte) {
	if len(b) < headerSize+4 {
		return
	}
	binary.LittleEndian.PutUint32(b[76:], disk.Checksum(b[:76]))
	binary.LittleEndian.PutUint32(b[len(b)-4:], disk.Checksum(b[:len(b)-4]))
}
