package check

import (
	"fmt"
	"regexp"
)

// Result is what a check found. All but Lines, Joined, Notices, Destroyed, Again and Counted should be 0.
type Result struct {
	Lines     int // of ours
	Joined    int // lines that follow another one in a record of several lines
	Notices   int // the log's own
	Destroyed int // lines that are not in the log, but among what another process destroyed
	Again     int // requests that began again
	Counted   int // lines that are missing, and that the collector counted as lost: no sender kept them
	Lost      int
	Doubled   int
	Torn      int
	Reordered int
	Phantom   int // never sent
	Changed   int // bytes that a reader saw otherwise
	First     []string
	Said      []string // the log's own lines
}

// OK reports whether the log holds what was sent.
func (r *Result) OK() bool {
	return r.Lost+r.Doubled+r.Torn+r.Reordered+r.Phantom+r.Changed == 0
}

func (r *Result) String() string {
	s := fmt.Sprintf("lines=%d notices=%d lost=%d doubled=%d torn=%d reordered=%d phantom=%d changed=%d",
		r.Lines, r.Notices, r.Lost, r.Doubled, r.Torn, r.Reordered, r.Phantom, r.Changed)
	if r.Joined > 0 {
		s += fmt.Sprintf(" joined=%d", r.Joined)
	}
	if r.Destroyed > 0 {
		s += fmt.Sprintf(" destroyed=%d", r.Destroyed)
	}
	if r.Again > 0 {
		s += fmt.Sprintf(" again=%d", r.Again)
	}
	if r.Counted > 0 {
		s += fmt.Sprintf(" counted=%d", r.Counted)
	}
	return s
}

// Says reports whether one of the log's own lines matches.
func (r *Result) Says(pattern string) bool {
	re := regexp.MustCompile(pattern)
	for _, line := range r.Said {
		if re.MatchString(line) {
			return true
		}
	}
	return false
}

const (
	mostFirst = 20   // findings that are told in words
	mostSaid  = 1000 // of the log's own lines that are kept
)

func (r *Result) say(format string, args ...any) {
	if len(r.First) < mostFirst {
		r.First = append(r.First, fmt.Sprintf(format, args...))
	}
}
