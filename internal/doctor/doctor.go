// Package doctor finds what is wrong or risky on a host. Each check is one function that gets
// what it judges from its caller, so a test can show it any host; read_linux.go reads this one.
// Nothing is changed, except that measuring the disk makes a file and removes it.
package doctor

import (
	"slices"
	"strings"
)

// Level is how much a finding matters.
type Level string

// The levels of findings.
const (
	OK    Level = "ok"    // looked at, and fine
	Risk  Level = "risk"  // it works now, and will not under load, after a reboot, or with time
	Wrong Level = "wrong" // lines are lost or refused, or will be
)

// Finding is one thing that was found.
type Finding struct {
	Level  Level  `json:"level"`
	Check  string `json:"check"`            // the check that found it
	What   string `json:"what,omitempty"`   // what is found, with its figures
	Where  string `json:"where,omitempty"`  // the path, key or address
	Remedy string `json:"remedy,omitempty"` // a command, or a key to set
}

// Check is something to look at.
type Check struct {
	Name string
	Run  func() []Finding // nothing: it is fine
}

// Report is what all checks found: wrong first, then risks, then what is fine.
type Report []Finding

// Run runs checks, one after another.
func Run(checks []Check) (r Report) {
	for _, c := range checks {
		found := c.Run()
		if len(found) == 0 {
			found = []Finding{{Level: OK}}
		}
		for _, f := range found {
			f.Check = c.Name
			r = append(r, f)
		}
	}
	slices.SortStableFunc(r, func(a, b Finding) int { return a.Level.rank() - b.Level.rank() })
	return r
}

func (l Level) rank() int { return slices.Index([]Level{Wrong, Risk, OK}, l) }

// Count is how many findings have a level.
func (r Report) Count(l Level) (n int) {
	for _, f := range r {
		if f.Level == l {
			n++
		}
	}
	return n
}

// fine names what was looked at and is fine, with a figure where there is one.
func (r Report) fine() string {
	var names []string
	for _, f := range r {
		switch {
		case f.Level != OK:
		case f.What != "":
			names = append(names, f.Check+" ("+f.What+")")
		default:
			names = append(names, f.Check)
		}
	}
	return strings.Join(names, ", ")
}

func wrong(where, remedy, what string) []Finding { return []Finding{{Wrong, "", what, where, remedy}} }

func risk(where, remedy, what string) []Finding { return []Finding{{Risk, "", what, where, remedy}} }

func fine(what string) []Finding { return []Finding{{Level: OK, What: what}} }
