package journal

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"fanin/internal/wire"
)

// filter decides which entries become lines. Journalctl itself filters nothing: the number of
// an entry that it left out would look like one that is missing.
type filter struct {
	units   []string
	matches []match
	machine string // the id of this machine; "": entries of all machines pass
	shown   []int  // the fields that become attributes of lines, in this order
	fields  []string
}

// match is the values that a field may have.
type match struct {
	name   int
	values []string
}

// unitSuffixes are the kinds of units.
var unitSuffixes = []string{".service", ".socket", ".target", ".device", ".mount", ".automount", ".swap", ".path",
	".timer", ".slice", ".scope"}

// newFilter returns a filter; its fields are the names of those that entries are read with.
func newFilter(units, matches, shown []string, machine string) (f filter, err error) {
	f.machine, f.fields = machine, names()
	for _, u := range units {
		if !strings.ContainsAny(u, `*?[\`) && !slices.Contains(unitSuffixes, path.Ext(u)) {
			u += ".service"
		}
		if _, err := path.Match(u, ""); err != nil || u == ".service" {
			return f, fmt.Errorf("%q is no name or pattern of a unit, as in \"nginx.service\" or \"app-*\"", u)
		}
		f.units = append(f.units, u)
	}
	for _, m := range matches {
		name, value, ok := strings.Cut(m, "=")
		if !ok || !isName([]byte(name)) || strings.HasPrefix(name, "__") || len(name) > maxName {
			return f, fmt.Errorf("matches: %q is no match: want FIELD=VALUE, as in \"_TRANSPORT=kernel\"", m)
		}
		f.add(f.index(name), value)
	}
	for _, name := range shown {
		if !isName([]byte(name)) || strings.HasPrefix(name, "__") || len(name) > maxName {
			return f, fmt.Errorf("fields: %q is no field: want the name of one, in capitals, as in \"PRIORITY\"", name)
		}
		f.shown = append(f.shown, f.index(name))
	}
	return f, nil
}

// index is that of a field among those that are read.
func (f *filter) index(name string) int {
	at := slices.Index(f.fields, name)
	if at < 0 {
		at, f.fields = len(f.fields), append(f.fields, name)
	}
	return at
}

// attributes are the fields of an entry that lines have beside the message, as far as they fit.
func (f *filter) attributes(e *entry) wire.Attributes {
	var b []byte
	for _, name := range f.shown {
		for _, x := range e.fields {
			if x.name == name {
				b, _ = wire.AppendAttribute(b, f.fields[name], e.text[x.from:x.to])
			}
		}
	}
	return wire.Attributes(b)
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
