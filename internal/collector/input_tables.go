package collector

import (
	"fmt"
	"slices"

	"fanin/internal/config"
)

// configuredInput is one table of an input.
type configuredInput struct {
	kind  string
	at    string // as in "collector.tcp[0]"
	table input
}

// inputTables are the tables of all inputs, in the order of the file. It is a
// config.TableList.
type inputTables []configuredInput

// Names are the names of all inputs that the program has.
func (l *inputTables) Names() (names []string) {
	for _, k := range inputKinds() {
		names = append(names, k.name)
	}
	return names
}

// Add appends an empty table of an input.
func (l *inputTables) Add(name string) any {
	kinds := inputKinds()
	k := kinds[slices.IndexFunc(kinds, func(k inputKind) bool { return k.name == name })]
	t := k.table()
	l.put(name, t)
	return t
}

// put appends a table.
func (l *inputTables) put(kind string, t input) {
	n := 0
	for range l.of(kind) {
		n++
	}
	*l = append(*l, configuredInput{kind, fmt.Sprintf("collector.%s[%d]", kind, n), t})
}

// replace puts one table in the place of all that a kind has.
func (l *inputTables) replace(kind string, t input) {
	*l = slices.DeleteFunc(*l, func(c configuredInput) bool { return c.kind == kind })
	l.put(kind, t)
}

// of are the tables of a kind.
func (l inputTables) of(kind string) func(yield func(input) bool) {
	return func(yield func(input) bool) {
		for _, c := range l {
			if c.kind == kind && !yield(c.table) {
				return
			}
		}
	}
}

// check reports the mistakes in every table.
func (l inputTables) check(file *config.File, insecure bool) {
	for i, c := range l {
		c.table.check(&checks{Table: file.Table(c.at), insecure: insecure, others: l[:i]})
	}
}

// handOut reports whether lines go out through an input.
func (l inputTables) handOut() bool {
	return slices.ContainsFunc(l, func(c configuredInput) bool { return c.table.needs().handsOut })
}

// byKind are the tables in the order in which the list of inputs has their kinds.
func (l inputTables) byKind() (all []configuredInput) {
	names := l.Names()
	all = slices.Clone(l)
	slices.SortStableFunc(all, func(a, b configuredInput) int {
		return slices.Index(names, a.kind) - slices.Index(names, b.kind)
	})
	return all
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
