package relay

import (
	"bytes"
	"time"
)

const (
	timeSize   = len("2006-01-02T15:04:05.000000Z") // of a time, as the layout writes it
	secondSize = len("2006-01-02T15:04:05.")
)

// clock reads the times of lines. They follow each other closely, so most often only the
// microseconds differ.
type clock struct {
	second []byte    // of the last time: all before its microseconds
	at     time.Time // its beginning
}

// parse reads a time. One that is not valid is the zero time.
func (c *clock) parse(text []byte) (t time.Time, ok bool) {
	if len(text) == timeSize && text[timeSize-1] == 'Z' && bytes.Equal(text[:secondSize], c.second) {
		if micros, ok := digits(text[secondSize : timeSize-1]); ok {
			return c.at.Add(time.Duration(micros) * time.Microsecond), true
		}
	}
	t, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return time.Time{}, false
	}
	if len(text) == timeSize {
		c.second, c.at = append(c.second[:0], text[:secondSize]...), t.Truncate(time.Second)
	}
	return t, true
}

func digits(text []byte) (n int, ok bool) {
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}
