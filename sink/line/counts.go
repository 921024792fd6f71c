package line

// counts are how many lines were laid out, by the names that they show and the minutes in which
// they were read. They grow until they are reset.
type counts struct {
	list   []Count
	minute int64 // of the next lines
	period int   // counts up with each minute and reset: what prefixes had before is of no more use
}

// Count is how many lines show the same names, and were read in the same minute. Several counts
// may be of the same names and minute. Raw lines show no names.
type Count struct {
	Host, Source string
	Minute       int64 // since 1970
	Lines        int
}

// Minute returns the minute of a time in microseconds, both since 1970.
func Minute(micros int64) int64 {
	const minute = 60_000_000
	if micros < 0 {
		micros -= minute - 1
	}
	return micros / minute
}

func (c *counts) setMinute(minute int64) {
	if minute != c.minute || c.period == 0 {
		c.minute = minute
		c.period++
	}
}

// add counts lines with a prefix.
func (c *counts) add(p *prefix, lines int) {
	if p.period != c.period {
		p.period, p.count = c.period, len(c.list)
		c.list = append(c.list, Count{p.host, p.source, c.minute, 0})
	}
	c.list[p.count].Lines += lines
}

// Counts returns how many lines were laid out since ResetCounts.
func (c *counts) Counts() []Count { return c.list }

// ResetCounts begins to count anew. What Counts returned is not valid any more.
func (c *counts) ResetCounts() {
	clear(c.list)
	c.list = c.list[:0]
	c.period++
}
