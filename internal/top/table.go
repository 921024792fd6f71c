// Package top draws tables on a terminal, again and again, until the user has seen enough. It
// knows nothing of what they show.
package top

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"fanin/internal/escape"
)

// Table is a table to draw. The text of cells may come from outside.
type Table struct {
	Heads []string // of the columns; one that begins with # is right-aligned
	Rows  [][]string
}

// Line is a line of the screen: safe for a terminal, and as wide as it may be.
type Line struct {
	Text string
	Bold bool
}

// Render lays out a head and tables in width columns and height lines; 0: without a limit. Tables
// without rows are left out; where lines are scarce, each table gets its share, and says how many
// rows it does not show.
func Render(head []string, tables []Table, width, height int) (lines []Line) {
	for _, h := range head {
		lines = append(lines, Line{cut(harmless(h), width), false})
	}
	var shown []Table
	for _, t := range tables {
		if len(t.Rows) > 0 {
			shown = append(shown, t)
		}
	}
	for i, n := range shares(shown, height, len(lines)) {
		if n > 0 || height == 0 {
			lines = append(lines, shown[i].render(width, n)...)
		}
	}
	if height > 0 && len(lines) > height {
		lines = lines[:height]
	}
	return lines
}

// shares are how many rows each table may show. A table takes a line for its heads, too.
func shares(tables []Table, height, used int) []int {
	give := make([]int, len(tables))
	if height == 0 {
		for i, t := range tables {
			give[i] = len(t.Rows)
		}
		return give
	}
	for left := height - used; left > 0; {
		before := left
		for i, t := range tables {
			cost := 1
			if give[i] == 0 {
				cost = 2
			}
			if give[i] < len(t.Rows) && cost <= left {
				give[i]++
				left -= cost
			}
		}
		if left == before {
			break
		}
	}
	return give
}

// render lays out the first n rows. If there are more, the last line says how many.
func (t *Table) render(width, n int) []Line {
	rows := [][]string{t.heads()}
	hidden := 0
	if n < len(t.Rows) {
		hidden, n = len(t.Rows)-n+1, n-1
	}
	for _, r := range t.Rows[:n] {
		safe := make([]string, len(r))
		for i, c := range r {
			safe[i] = harmless(c)
		}
		rows = append(rows, safe)
	}
	widths := t.widths(rows, width)
	lines := make([]Line, 0, len(rows)+1)
	for i, r := range rows {
		lines = append(lines, Line{cut(t.join(r, widths), width), i == 0})
	}
	if hidden > 0 {
		lines = append(lines, Line{cut(fmt.Sprintf("... %d more", hidden), width), false})
	}
	return lines
}

func (t *Table) heads() (names []string) {
	for _, h := range t.Heads {
		names = append(names, strings.TrimPrefix(h, "#"))
	}
	return names
}

// narrow is how far a column may be narrowed.
const narrow = 6

// widths are those of the columns. If they do not fit, the widest are narrowed.
func (t *Table) widths(rows [][]string, width int) []int {
	widths := make([]int, len(t.Heads))
	sum := 2 * (len(widths) - 1)
	for i := range widths {
		for _, r := range rows {
			if i < len(r) {
				widths[i] = max(widths[i], columns(r[i]))
			}
		}
		sum += widths[i]
	}
	for ; width > 0 && sum > width; sum-- {
		widest := 0
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= narrow {
			break
		}
		widths[widest]--
	}
	return widths
}

func (t *Table) join(cells []string, widths []int) string {
	var b strings.Builder
	for i, c := range cells {
		if i >= len(widths) {
			break
		}
		if i > 0 {
			b.WriteString("  ")
		}
		c = cut(c, widths[i])
		space := strings.Repeat(" ", widths[i]-columns(c))
		if strings.HasPrefix(t.Heads[i], "#") {
			b.WriteString(space + c)
		} else {
			b.WriteString(c + space)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// harmless is a text from outside on one line, in UTF-8, without control characters.
func harmless(s string) string { return strings.ToValidUTF8(escape.String(s), "\ufffd") }

// columns is how many columns a text takes at most: characters that a terminal may draw wide count
// as two.
func columns(s string) (n int) {
	for _, r := range s {
		n += wide(r)
	}
	return n
}

func wide(r rune) int {
	if r >= 0x1100 {
		return 2
	}
	return 1
}

// cut shortens a text to a number of columns, and marks that with a ~; 0: no limit.
func cut(s string, most int) string {
	if most <= 0 || columns(s) <= most {
		return s
	}
	n := 0
	for i, r := range s {
		if n+wide(r) > most-1 {
			return s[:i] + "~"
		}
		n += wide(r)
		if i+utf8.RuneLen(r) >= len(s) {
			break
		}
	}
	return s
}
