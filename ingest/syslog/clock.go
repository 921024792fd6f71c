package syslog

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/ingest"
)

// unused is why the time of a header is not taken.
type unused int

const (
	taken   unused = iota
	far            // it is more than a day from now
	noZone         // it has no zone that is known, and none is set
	invalid        // there is no such day
	unsure         // the sender says that its clock is not synchronised
	reasons
)

// String is the reason as metrics have it.
func (u unused) String() string {
	return [reasons]string{"", "far", "zone", "invalid", "unsynchronized"}[u]
}

// farthest is how far the time of a header may be from when the message was read.
const farthest = 24 * time.Hour

// resolve is the time that a header gives, as local is its zone where it names none; nil: none
// is set. Of a time without a year, it is the one closest to now.
func (s *stamp) resolve(local *time.Location, now time.Time) (time.Time, unused) {
	zone := local
	switch {
	case s.zone == zoneOffset:
		zone = time.UTC
	case local == nil:
		return time.Time{}, noZone
	}
	t, ok := s.closest(zone, now)
	if !ok {
		return time.Time{}, invalid
	}
	if s.zone == zoneNamed { // such as CET: it is known if it is what clocks show there then
		if name, _ := t.Zone(); name != string(s.name) {
			return time.Time{}, noZone
		}
	}
	return t, taken
}

// closest is the second in the year that the header gives, or in the one that makes it closest to
// now; false: there is no such day.
func (c *civil) closest(zone *time.Location, now time.Time) (t time.Time, ok bool) {
	if c.year >= 0 {
		return c.in(c.year, zone)
	}
	year := now.Year()
	for y := year - 1; y <= year+1; y++ {
		if x, exists := c.in(y, zone); exists && (!ok || x.Sub(now).Abs() < t.Sub(now).Abs()) {
			t, ok = x, true
		}
	}
	return t, ok
}

// in is the second in a year. A leap second is the first of the next minute.
func (c *civil) in(year int, zone *time.Location) (time.Time, bool) {
	if c.day > daysIn(c.month, year) {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(c.month), c.day, c.hour, c.min, c.second, 0, zone)
	return t.Add(-time.Duration(c.offset) * time.Second), true
}

func daysIn(month, year int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// clock turns the times of headers into those of lines, and counts those that it does not take.
// Messages follow each other closely, so it remembers the last second.
type clock struct {
	zone   *time.Location
	counts [reasons]prometheus.Counter

	last civil
	was  time.Time // that second
}

func newClock(zone *time.Location, m *ingest.Metrics) clock {
	c := clock{zone: zone}
	for u := taken + 1; u < reasons; u++ {
		c.counts[u] = m.Counter("fanin_syslog_unused_times_total", "Times of senders that lines do not show: they are "+
			"more than a day off, their zone is not known, there is no such day, or the sender's clock is not "+
			"synchronized.", "reason", u.String())
	}
	return c
}

// show is the time that a line shows; zero: when it was read, and why.
func (c *clock) show(s *stamp, now time.Time) (t time.Time, why unused) {
	if !s.known {
		return time.Time{}, taken
	}
	switch {
	case s.unsure:
		why = unsure
	case s.civil != c.last || s.zone == zoneNamed || c.was.Sub(now).Abs() > farthest:
		if c.was, why = s.resolve(c.zone, now); why == taken {
			c.last = s.civil
		} else {
			c.last = civil{}
		}
	}
	t = c.was.Add(time.Duration(s.micros) * time.Microsecond)
	if why == taken && t.Sub(now).Abs() > farthest {
		why = far
	}
	if why != taken {
		c.counts[why].Inc()
		return time.Time{}, why
	}
	return t, taken
}
