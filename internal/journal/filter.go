package journal

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// filter decides which entries become lines. Journalctl itself filters nothing: the number of
// an entry that it left out would look like one that is missing.
type filter struct {
	units   []string
	matches []match
	machine string // the id of this machine; "": entries of all machines pass
}

// match is the values that a field may have.
type match struct {
	name   int
	values []string
}

// unitSuffixes are the kinds of units.
var unitSuffixes = []string{".service", ".socket", ".target", ".device", ".mount", ".automount", ".swap", ".path",
	".timer", ".slice", ".scope"}

// newFilter returns a filter, and the names of the fields that entries are read with.
func newFilter(units, matches []string, machine string) (f filter, fields []string, err error) {
	f.machine, fields = machine, names()
	for _, u := range units {
		if !strings.ContainsAny(u, `*?[\`) && !slices.Contains(unitSuffixes, path.Ext(u)) {
			u += ".service"
		}
		if _, err := path.Match(u, ""); err != nil || u == ".service" {
			return f, nil, fmt.Errorf("%q is no name or pattern of a unit, as in \"nginx.service\" or \"app-*\"", u)
		}
		f.units = append(f.units, u)
	}
	for _, m := range matches {
		name, value, ok := strings.Cut(m, "=")
		if !ok || !isName([]byte(name)) || strings.HasPrefix(name, "__") || len(name) > maxName {
			return f, nil, fmt.Errorf("%q is no match: want FIELD=VALUE, as in \"_TRANSPORT=kernel\"", m)
		}
		at := slices.Index(fields, name)
		if at < 0 {
			at, fields = len(fields), append(fields, name)
		}
		f.add(at, value)
	}
	return f, fields, nil
}

// add allows one more value of a field.
func (f *filter) add(name int, value string) {
	for i := range f.matches {
		if f.matches[i].name == name {
			f.matches[i].values = append(f.matches[i].values, value)
			return
		}
	}
	f.matches = append(f.matches, match{name, []string{value}})
}

// isForeign reports whether an entry is of another machine, whose journal is beside this one's.
func (f *filter) isForeign(e *entry) bool {
	m := e.get(machine)
	return f.machine != "" && m != nil && string(m) != f.machine
}

// passes reports whether an entry becomes lines. As for journalctl, one of the units must fit,
// and for each field that has matches, one of them. What journald says of losses always passes.
func (f *filter) passes(e *entry) bool {
	if !e.has(message) {
		return false
	}
	if _, reports := e.suppressed(); reports {
		return true
	}
	for _, m := range f.matches {
		if !slices.ContainsFunc(e.fields, func(x field) bool {
			return x.name == m.name && slices.Contains(m.values, string(e.text[x.from:x.to]))
		}) {
			return false
		}
	}
	return len(f.units) == 0 || slices.ContainsFunc(f.units, e.isOf)
}

// isOf reports whether an entry is of a unit, or about it.
func (e *entry) isOf(pattern string) bool {
	for _, x := range e.fields {
		switch x.name {
		case unit, userUnit, objectUnit, aboutUnit:
			if ok, _ := path.Match(pattern, string(e.text[x.from:x.to])); ok {
				return true
			}
		}
	}
	return false
}
