package top

import (
	"context"
	"io"
	"strings"
	"time"
)

// Order is how rows are sorted.
type Order bool

// The orders, and their keys.
const (
	ByLag  Order = false // l: what is silent or behind first
	ByName Order = true  // n
)

// Frame makes what to show, in an order.
type Frame func(ctx context.Context, order Order) (head []string, tables []Table)

// every is how often the screen is drawn again.
const every = time.Second

// Show draws frames until the user presses q or Ctrl-C, the terminal is gone, or ctx ends. Then the
// terminal is as it was.
func Show(ctx context.Context, t *Terminal, frame Frame) error {
	if err := t.begin(); err != nil {
		return err
	}
	defer t.end()
	order := ByLag
	for ctx.Err() == nil {
		head, tables := frame(ctx, order)
		width, height := t.size()
		t.draw(Render(head, tables, width, height))
		for next := time.Now().Add(every); ctx.Err() == nil && time.Now().Before(next); {
			key, err := t.key(min(time.Until(next), every/5)) // a signal ends ctx meanwhile
			switch {
			case err != nil || key == 'q' || key == ctrlC:
				return nil
			case key == 'l' || key == 'n':
				order = key == 'n'
				next = time.Now()
			case t.resized():
				next = time.Now()
			}
		}
	}
	return nil
}

const ctrlC = 3

// Print prints a frame once, without a limit and without control sequences.
func Print(w io.Writer, head []string, tables []Table) error {
	var b strings.Builder
	for _, l := range Render(head, tables, 0, 0) {
		b.WriteString(l.Text + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// The control sequences of ECMA-48 and xterm that are used.
const (
	enter  = "\x1b[?1049h\x1b[?25l" // the other screen, without a cursor
	leave  = "\x1b[0m\x1b[?25h\x1b[?1049l"
	home   = "\x1b[H"
	toEnd  = "\x1b[K" // clears the line
	below  = "\x1b[J" // clears what is below
	bold   = "\x1b[1m"
	normal = "\x1b[0m"
)

// paint is a whole screen of a height as one write. A line is cleared before it is written: behind
// the last column, that would clear its last character.
func paint(lines []Line, height int) string {
	var b strings.Builder
	b.WriteString(home)
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(toEnd)
		if l.Bold {
			b.WriteString(bold + l.Text + normal)
		} else {
			b.WriteString(l.Text)
		}
	}
	if len(lines) < height {
		b.WriteString("\r\n" + below)
	}
	return b.String()
}
