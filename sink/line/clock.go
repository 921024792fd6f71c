package line

import "time"

const (
	timeLayout = "2006-01-02T15:04:05.000000Z"
	timeSize   = len(timeLayout)
	fraction   = len("2006-01-02T15:04:05.") // where the microseconds begin
)

// Stamp is how a line's Time would be written: stamps compare as times do.
func Stamp(t time.Time) string { return t.UTC().Format(timeLayout) }

// clock is a time as lines have it: RFC 3339 in UTC, with microseconds. A year that
// has more or fewer than four digits is written as 1970: a peer's clock can be
// anywhere. Times follow each other closely, so most often only digits change.
type clock struct {
	micros int64 // since 1970
	text   [timeSize]byte
}

// lastMicros is the end of the year 9999.
const lastMicros = 253402300799_999999

// pairs are the numbers from 00 to 99.
const pairs = "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849" +
	"5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899"

func (c *clock) set(micros int64) {
	was := c.micros
	if micros == was && c.text[0] != 0 {
		return
	}
	c.micros = micros
	if c.text[0] == 0 || min(micros, was) < 0 || max(micros, was) > lastMicros || micros/1e6 != was/1e6 {
		t := time.UnixMicro(micros).UTC()
		if y := t.Year(); y < 0 || y > 9999 {
			t = time.Unix(0, 0).UTC()
		}
		var b [timeSize + 8]byte // AppendFormat writes a little beyond what it returns
		copy(c.text[:], t.AppendFormat(b[:0], timeLayout))
		return
	}
	digits := c.text[fraction : fraction+6]
	for i, n := 4, uint32(micros%1e6); i >= 0; i, n = i-2, n/100 {
		copy(digits[i:], pairs[2*(n%100):][:2])
	}
}
