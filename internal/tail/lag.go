package tail

import "time"

// lag is for how long the oldest bytes of a file have waited to be acknowledged. Two
// marks are enough: the bytes before the first are not all acknowledged, and those
// before the second had come when the first is. So the lag of a file that is stuck is
// exact, and that of one that is written all the time is never too long.
type lag struct{ first, second lagMark }

// lagMark says that a file had end bytes at a time.
type lagMark struct {
	end int64
	at  time.Time
}

// saw notes that the file has size bytes, of which acked are acknowledged.
func (l *lag) saw(size, acked int64, at time.Time) {
	if size < l.first.end {
		*l = lag{} // it was truncated
	}
	if l.first.end <= acked {
		l.first, l.second = l.second, lagMark{}
	}
	if l.first.end <= acked {
		*l = lag{}
	}
	switch now := (lagMark{size, at}); {
	case size <= acked:
	case l.first.end == 0:
		l.first = now
	case l.second.end == 0 && size > l.first.end:
		l.second = now
	}
}

// since returns since when the byte behind acked waits, at least; zero: none does.
func (l *lag) since(acked int64) time.Time {
	if l.first.end > acked {
		return l.first.at
	}
	return l.second.at
}
