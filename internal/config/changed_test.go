package config

import (
	"slices"
	"testing"
)

// TestChanged: each key that is another one, in tables, too, and none that is the same.
func TestChanged(t *testing.T) {
	load := func(text string) *environ {
		e := new(environ)
		if f, err := Parse("a.toml", "[a]\n"+text, e); err != nil || f.Err() != nil {
			t.Fatal(err, f.Err())
		}
		return e
	}
	one := load("s = 'x'\nmore = 1\nlist = ['a']\nsize = '1KiB'\nsub = [{s = 'x'}]\n")
	if got := Changed("", one, load("s = 'x'\nmore = 1\nlist = ['a']\nsize = '1KiB'\nsub = [{s = 'x'}]\n")); len(got) > 0 {
		t.Errorf("%q changed", got)
	}
	got := Changed("", one, load("s = 'y'\nmore = 2\nlist = []\nwait = '1s'\nsub = [{s = 'y'}]\n"))
	if want := []string{"a.list", "a.more", "a.s", "a.size", "a.sub", "a.wait"}; !slices.Equal(got, want) {
		t.Errorf("%q changed, want %q", got, want)
	}
}
