package line

import "time"

const (
	timeLayout = "2006-01-02T15:04:05.000000Z"
	timeSize   = len(timeLayout)
	fraction   = len("2006-01-02T15:04:05.") // where the microseconds begin
)

// Stamp is how a line's Time would be written: stamps compare as times do.
func Stamp(t time.Time) string { return t.UTC().Format(timeLayout) }

// stamp is a time of a line, in microseconds since 1970. It is written as RFC 3339
// has it, in UTC, and a year of more or fewer than four digits as 1970: a peer's
// clock can be anywhere.
type stamp int64

func (s stamp) append(dst []byte) []byte {
	t := time.UnixMicro(int64(s)).UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		t = time.Unix(0, 0).UTC()
	}
	return t.AppendFormat(dst, timeLayout)
}

// lastStamp is the end of the year 9999.
const lastStamp = 253402300799_999999

// replace writes s over the stamp was, with which text begins.
func (s stamp) replace(text []byte, was stamp) {
	if min(s, was) < 0 || max(s, was) > lastStamp || s/1e6 != was/1e6 {
		var b [timeSize + 8]byte // AppendFormat writes a little beyond what it returns
		copy(text, s.append(b[:0]))
		return
	}
	for i, n := fraction+5, s%1e6; i >= fraction; i, n = i-1, n/10 {
		text[i] = byte('0' + n%10)
	}
}
