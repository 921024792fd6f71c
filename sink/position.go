package sink

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Position is a place in the log, counted in bytes of text whether the file is
// compressed or not. What is before a committed position never changes. Its
// text is "generation:offset", such as "3:4096".
type Position struct {
	Generation uint64
	Offset     int64
}

// String returns the text of p, "generation:offset".
func (p Position) String() string { return fmt.Sprintf("%d:%d", p.Generation, p.Offset) }

// Compare is -1 if p is before q, 1 if it is behind, 0 if they are the same.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Generation, q.Generation), cmp.Compare(p.Offset, q.Offset))
}

// ParsePosition reads what String writes.
func ParsePosition(text string) (p Position, err error) {
	generation, offset, ok := strings.Cut(text, ":")
	if ok {
		p.Generation, err = strconv.ParseUint(generation, 10, 64)
	}
	if ok && err == nil {
		p.Offset, err = strconv.ParseInt(offset, 10, 64)
	}
	if !ok || err != nil || p.Offset < 0 || p.String() != text {
		return Position{}, fmt.Errorf("position %q: want generation:offset, such as 3:4096", text)
	}
	return p, nil
}
