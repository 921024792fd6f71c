package line

import "time"

// TimeReader tells when lines of a log were read, as far as the lines show it. In format syslog that is the time that a
// line shows, perhaps that of its source. One goroutine at a time may use it.
type TimeReader struct {
	format string
	day    [10]byte // the last one
	begins int64    // in microseconds since 1970
}

// NewTimeReader returns one for a format. Lines of the raw format show no time.
func NewTimeReader(format string) *TimeReader { return &TimeReader{format: format} }

// Micros returns when a line was read, in microseconds since 1970; false: it does not show it.
func (r *TimeReader) Micros(line []byte) (micros int64, ok bool) {
	begin := 0
	switch r.format {
	case "json":
		begin = len(`{"ObservedTimestamp":"`)
	case "syslog":
	default:
		return 0, false
	}
	if len(line) < begin+timeSize {
		return 0, false
	}
	t := line[begin : begin+timeSize]
	if t[10] != 'T' || t[13] != ':' || t[16] != ':' || t[19] != '.' || t[26] != 'Z' {
		return 0, false
	}
	if r.day != [10]byte(t) {
		day, err := time.Parse(time.DateOnly, string(t[:10]))
		if err != nil {
			return 0, false
		}
		r.day, r.begins = [10]byte(t), day.UnixMicro()
	}
	hours, minutes, seconds, fraction := number(t[11:13]), number(t[14:16]), number(t[17:19]), number(t[20:26])
	if min(hours, minutes, seconds, fraction) < 0 {
		return 0, false
	}
	return r.begins + ((hours*60+minutes)*60+seconds)*1e6 + fraction, true
}

// number is the number that digits are; -1: they are no digits.
func number(digits []byte) (n int64) {
	for _, c := range digits {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n
}
