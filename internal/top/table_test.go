package top

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// text is lines as a terminal shows them.
func text(lines []Line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.Text + "\n")
	}
	return b.String()
}

// Tables are laid out in columns; without a limit, whole.
func TestRender(t *testing.T) {
	tables := []Table{{[]string{"AGENT", "#LINES"}, [][]string{{"web-1", "7"}, {"db", "1200"}}}, {[]string{"EMPTY"}, nil},
		{[]string{"INPUT"}, [][]string{{"tcp"}}}}
	const want = "head\nAGENT  LINES\nweb-1      7\ndb      1200\nINPUT\ntcp\n"
	if got := text(Render([]string{"head"}, tables, 0, 0)); got != want {
		t.Errorf("rendered\n%swant\n%s", got, want)
	}
}

// Where lines are scarce each table gets a share, and says what it does not show.
func TestRenderShares(t *testing.T) {
	table := func(name string, n int) (t Table) {
		t.Heads = []string{name}
		for i := range n {
			t.Rows = append(t.Rows, []string{fmt.Sprint(name, i)})
		}
		return t
	}
	const want = "head\nA\nA0\nA1\n... 8 more\nB\nB0\nC\nC0\n... 2 more\n"
	if got := text(Render([]string{"head"}, []Table{table("A", 10), table("B", 1), table("C", 3)}, 20, 10)); got != want {
		t.Errorf("rendered\n%swant\n%s", got, want)
	}
}

// Whatever the names are, no line is wider or more than the terminal has, and none has control
// characters.
func TestRenderFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cell := rapid.OneOf(rapid.StringN(0, 60, -1), rapid.Just("\x1b[2J\x07\u202e"), rapid.Just("\xff\xfe界界界界界界界"))
		var tables []Table
		for range rapid.IntRange(0, 4).Draw(t, "tables") {
			n := rapid.IntRange(1, 5).Draw(t, "columns")
			rows := rapid.SliceOfN(rapid.SliceOfN(cell, n, n), 0, 8).Draw(t, "rows")
			tables = append(tables, Table{strings.Fields(strings.Repeat("#HEAD ", n)), rows})
		}
		width, height := rapid.IntRange(1, 100).Draw(t, "width"), rapid.IntRange(1, 30).Draw(t, "height")
		lines := Render([]string{cell.Draw(t, "head")}, tables, width, height)
		if len(lines) > height {
			t.Fatalf("%d lines, and the terminal has %d", len(lines), height)
		}
		for _, l := range lines {
			if columns(l.Text) > width || strings.ContainsAny(l.Text, "\x1b\x07\n\r\u202e") || !utf8.ValidString(l.Text) {
				t.Fatalf("%d columns: %q", width, l.Text)
			}
		}
	})
}

// Nothing is cleared behind a line that fills the last column: that would take its last character.
func TestPaint(t *testing.T) {
	got := paint([]Line{{"abc", false}, {"def", true}}, 2)
	if want := home + toEnd + "abc\r\n" + toEnd + bold + "def" + normal; got != want {
		t.Errorf("painted %q, want %q", got, want)
	}
	if got, want := paint([]Line{{"abc", false}}, 2), home+toEnd+"abc\r\n"+below; got != want {
		t.Errorf("painted %q, want %q", got, want)
	}
}
