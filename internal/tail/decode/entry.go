package decode

import "time"

// entry is one record of a container's log: a line, or a part of one.
type entry struct {
	time   time.Time // zero: not known
	text   []byte    // as it stands in the record
	at     int       // where it stands there
	stream uint8     // 0 stdout, 1 stderr, noStream
	open   bool      // the line goes on in the stream's next record
	unfit  bool      // it is no record of the format: text is all of it
}

// The streams of a container, and one for what belongs to neither.
const (
	noStream = 2
	streams  = 3
)

// records is a format of container logs: a line of raw bytes is a record, which has a line
// of text or a part of one.
type records interface {
	// read reads a record, without its newline. If it is not whole, it is cut off inside
	// the text: then text is what there is of it.
	read(c *clock, record []byte, whole bool) entry

	// rest reads what follows a place inside the text of a record, which is whole or cut
	// off. begin is the record before the place; nil: not known.
	rest(c *clock, begin, rest []byte, whole bool) entry

	// append appends the text of an entry to dst.
	append(dst, text []byte, unfit bool) []byte

	// appendPart appends at most limit bytes of the text, without dividing a rune, and
	// returns how much of text that is.
	appendPart(dst, text []byte, limit int, unfit bool) ([]byte, int)
}
