package depot

import (
	"slices"

	"fanin/sink"
)

// Log is the files of one log that are in a depot, by generation.
type Log []Manifest

// End is where the text of a file ends.
func (m *Manifest) End() sink.Position {
	return sink.Position{Generation: m.Generation, Offset: m.TextBytes}
}

// Until is the position up to which the log is there, without a gap, from the first file on that is
// there; zero: it has no files. It is where the generation behind the last one of these begins.
func (l Log) Until() (at sink.Position) {
	for i, m := range l {
		if i > 0 && m.Generation > at.Generation {
			break
		}
		at = sink.Position{Generation: m.Generation + 1}
	}
	return at
}

// Has reports whether the log is there up to a position.
func (l Log) Has(to sink.Position) bool {
	until := l.Until()
	return to.Compare(until) < 0 || to == until ||
		slices.ContainsFunc(l, func(m Manifest) bool { return m.Generation < until.Generation && m.End() == to })
}
