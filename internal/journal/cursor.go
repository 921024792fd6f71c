package journal

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
)

// sequenceID names a numbering of entries. All files that journald writes between two
// losses of its state have one: a rotated file continues the numbers of the file before.
type sequenceID [16]byte

// String is the id in 32 hexadecimal digits, as in a cursor.
func (id sequenceID) String() string { return hex.EncodeToString(id[:]) }

// place is an entry of the journal.
type place struct {
	id     sequenceID
	number uint64
	time   int64 // when the journal received it, in microseconds since 1970
}

// maxNumber is more entries than any journal numbers: their offsets must fit.
const maxNumber = 1 << 46

// parseCursor reads the parts of a cursor that number the entry, which are the first two:
//
//	s=ID;i=NUMBER;b=BOOT;m=MONOTONIC;t=REALTIME;x=HASH     all in hexadecimal digits
//
// Journalctl finds an entry by the first two alone.
func parseCursor(cursor []byte) (id sequenceID, number uint64, err error) {
	s, rest, ok := bytes.Cut(cursor, []byte(";i="))
	digits, ok2 := bytes.CutPrefix(s, []byte("s="))
	if !ok || !ok2 || len(digits) != 2*len(id) {
		return id, 0, fmt.Errorf("the cursor %.80q names no entry", cursor)
	}
	if _, err := hex.Decode(id[:], digits); err != nil {
		return id, 0, fmt.Errorf("the cursor %.80q names no entry", cursor)
	}
	hexNumber, _, _ := bytes.Cut(rest, []byte{';'})
	number, err = strconv.ParseUint(string(hexNumber), 16, 64)
	if err != nil || number == 0 || number >= maxNumber {
		return id, 0, fmt.Errorf("the cursor %.80q has no number of an entry", cursor)
	}
	return id, number, nil
}

// cursor is an argument of journalctl that begins to read at p. Files with another
// sequence id are read from the first entry that is not older than since, in microseconds
// since 1970; 0: from their beginning.
func (p *place) cursor(since int64) string {
	c := fmt.Sprintf("s=%s;i=%x", p.id, p.number)
	if since > 0 {
		c += fmt.Sprintf(";t=%x", since)
	}
	return c
}
