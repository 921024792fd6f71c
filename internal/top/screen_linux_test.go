package top

import (
	"context"
	"os"
	"strings"
	"testing"

	"fanin/internal/top/toptest"
	"fanin/internal/waittest"
)

// show runs Show on a terminal, and returns a channel for its end.
func show(ctx context.Context, t *testing.T, x *toptest.Terminal, frame Frame) chan error {
	t.Helper()
	terminal, err := Open(x.Side, x.Side)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- Show(ctx, terminal, frame) }() // ends with a key, or with ctx
	return ended
}

// sees waits until a text was drawn.
func sees(t *testing.T, x *toptest.Terminal, want string) {
	t.Helper()
	waittest.Until(t, "the screen shows "+want, func() bool { return strings.Contains(x.Shown(), want) })
}

// Keys change the order, another size is drawn at once, and at every end the terminal is as it was.
func TestShow(t *testing.T) {
	frame := func(_ context.Context, order Order) ([]string, []Table) {
		return []string{map[Order]string{ByLag: "by lag", ByName: "by name"}[order]},
			[]Table{{[]string{"NAME", "TEXT"}, [][]string{{"a\x1b[2J", strings.Repeat("x", 200)}}}}
	}
	for name, end := range map[string]func(x *toptest.Terminal, cancel func()){
		"q":             func(x *toptest.Terminal, _ func()) { x.Press(t, "q") },
		"Ctrl-C":        func(x *toptest.Terminal, _ func()) { x.Press(t, "\x03") },
		"a signal":      func(_ *toptest.Terminal, cancel func()) { cancel() },
		"Ctrl-Z, q":     func(x *toptest.Terminal, _ func()) { x.Press(t, "\x1aq") },
		"other keys, q": func(x *toptest.Terminal, _ func()) { x.Press(t, "zzq") },
	} {
		t.Run(name, func(t *testing.T) {
			x := toptest.Open(t)
			before := x.Modes(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := show(ctx, t, x, frame)
			sees(t, x, "by lag")
			if x.Modes(t) == before {
				t.Error("keys do not come one by one")
			}
			x.Press(t, "n")
			sees(t, x, "by name")
			x.Resize(t, 30, 10)
			sees(t, x, "a#033[2J  xxxxxxxxxxxxxxxxxxx~")
			end(x, cancel)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			sees(t, x, leave)
			if got := x.Modes(t); got != before {
				t.Errorf("the modes are %+v, and were %+v", got, before)
			}
			if strings.Contains(x.Shown(), "\x1b[2J") {
				t.Error("a name reached the terminal as it is")
			}
		})
	}
}

// A file is no terminal.
func TestOpenFile(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if x, err := Open(f, f); err == nil {
		t.Errorf("opened %+v", x)
	}
}
