package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
)

// The limits that `make check` holds the code to.
const (
	maxFunction    = 60  // lines
	maxFunctionP95 = 32  // lines
	maxFile        = 500 // lines
	maxStruct      = 20  // fields
	maxComplexity  = 15
	maxColumns     = 120
)

// value is a figure and the place that has it.
type value struct {
	place string
	n     int
}

// measures are the figures of a tree.
type measures struct {
	lines                                 int
	functions, files, structs, complexity []value
	columns                               []value // only lines beyond the limit
	undocumented                          []string
}

// print writes each figure with its distribution and its five largest places.
func (m *measures) print(w io.Writer) {
	fmt.Fprintf(w, "%d files, %d lines, %d functions\n", len(m.files), m.lines, len(m.functions))
	for _, row := range []struct {
		name   string
		values []value
	}{{"function length", m.functions}, {"file length", m.files}, {"struct fields", m.structs}, {"cyclomatic complexity", m.complexity}} {
		sortValues(row.values)
		fmt.Fprintf(w, "%s: p50 %d, p95 %d, max %d\n", row.name, percentile(row.values, 50), percentile(row.values, 95), percentile(row.values, 100))
		for _, v := range row.values[max(0, len(row.values)-5):] {
			fmt.Fprintf(w, "  %4d %s\n", v.n, v.place)
		}
	}
	fmt.Fprintf(w, "lines over %d columns: %d\n", maxColumns, len(m.columns))
	fmt.Fprintf(w, "exported names without a doc comment: %d\n", len(m.undocumented))
}

// exceeded returns a line for each place that exceeds a limit.
func (m *measures) exceeded() (places []string) {
	over := func(what string, values []value, limit int) {
		for _, v := range values {
			if v.n > limit {
				places = append(places, fmt.Sprintf("%s: %s %d, at most %d", v.place, what, v.n, limit))
			}
		}
	}
	over("lines of a function", m.functions, maxFunction)
	over("lines of a file", m.files, maxFile)
	over("fields of a struct", m.structs, maxStruct)
	over("cyclomatic complexity", m.complexity, maxComplexity)
	over("columns", m.columns, maxColumns)
	sortValues(m.functions)
	if n := percentile(m.functions, 95); n > maxFunctionP95 {
		places = append(places, fmt.Sprintf("5 %% of all functions have more than %d lines; at most %d", n, maxFunctionP95))
	}
	for _, name := range m.undocumented {
		places = append(places, name+": no doc comment")
	}
	return places
}

func sortValues(values []value) {
	slices.SortFunc(values, func(a, b value) int { return cmp.Or(a.n-b.n, cmp.Compare(a.place, b.place)) })
}

// percentile returns the p-th percentile of sorted values, by the nearest rank.
func percentile(values []value, p int) int {
	if len(values) == 0 {
		return 0
	}
	return values[max(0, (len(values)*p+99)/100-1)].n
}
