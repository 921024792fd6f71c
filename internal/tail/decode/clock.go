package decode

import (
	"encoding/binary"
	"time"
)

// clock reads times as RFC 3339 writes them, with up to nine digits of a fraction. It
// remembers the last day, which most lines of a file share. The zero value is ready.
type clock struct {
	head [8]byte // of the day as it was written: "2006-01-"
	tail [2]byte // "02"
	unix int64   // when it began, in UTC
}

// shortest is the length of a time without a fraction: "2006-01-02T15:04:05Z".
const shortest = len("2006-01-02T15:04:05Z")

// read reads the time that b begins with, and returns how long it is; 0: there is none.
func (c *clock) read(b []byte) (t time.Time, n int) {
	if len(b) < shortest || b[10] != 'T' || b[13] != ':' || b[16] != ':' || !c.day(b) {
		return t, 0
	}
	hour, minute, second := pair(b[11:]), pair(b[14:]), pair(b[17:])
	if hour > 23 || minute > 59 || second > 59 {
		return t, 0
	}
	nanoseconds, n := fraction(b, 19)
	if n == 0 || n >= len(b) {
		return t, 0
	}
	shift, m := zone(b[n:])
	if m == 0 {
		return t, 0
	}
	seconds := c.unix + int64(hour)*3600 + int64(minute)*60 + int64(second) - shift
	if seconds < oldest || seconds > newest {
		return t, 0
	}
	return time.Unix(seconds, nanoseconds).UTC(), n + m
}

// The log can show the years 0 to 9999.
const (
	oldest = -62167219200
	newest = 253402300799
)

// day reads the date that b begins with.
func (c *clock) day(b []byte) bool {
	if c.tail != [2]byte{} && [8]byte(b) == c.head && [2]byte(b[8:]) == c.tail {
		return true
	}
	century, year, month, day := pair(b), pair(b[2:]), pair(b[5:]), pair(b[8:])
	if b[4] != '-' || b[7] != '-' || max(century, year) > 99 || month < 1 || month > 12 || day < 1 || day > 31 {
		return false
	}
	date := time.Date(century*100+year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	if date.Day() != day {
		return false // such as the 31st of April
	}
	c.head, c.tail, c.unix = [8]byte(b), [2]byte(b[8:]), date.Unix()
	return true
}

// fraction reads the fraction of a second at b[n:], if there is one, and returns the place
// behind it; 0: it is none. Digits behind the ninth are passed over.
func fraction(b []byte, n int) (nanoseconds int64, end int) {
	if b[n] != '.' {
		return 0, n
	}
	at, scale := n+1, int64(1e9)
	for ; at < len(b) && b[at]-'0' <= 9; at++ {
		if scale > 1 {
			nanoseconds, scale = nanoseconds*10+int64(b[at]-'0'), scale/10
		}
	}
	if at == n+1 {
		return 0, 0
	}
	return nanoseconds * scale, at
}

// zone reads "Z" or "+01:00", and returns the seconds east of UTC and the length; 0: it is
// none.
func zone(b []byte) (seconds int64, n int) {
	if b[0] == 'Z' {
		return 0, 1
	}
	if len(b) < 6 || b[0] != '+' && b[0] != '-' || b[3] != ':' {
		return 0, 0
	}
	hours, minutes := pair(b[1:]), pair(b[4:])
	if hours > 23 || minutes > 59 {
		return 0, 0
	}
	seconds = int64(hours)*3600 + int64(minutes)*60
	if b[0] == '-' {
		seconds = -seconds
	}
	return seconds, 6
}

// pair reads two digits; 100 or more: they are none.
func pair(b []byte) int {
	x := binary.LittleEndian.Uint16(b) - '0' - '0'<<8
	tens, ones := int(x&0xff), int(x>>8)
	if tens > 9 || ones > 9 {
		return 100
	}
	return tens*10 + ones
}
