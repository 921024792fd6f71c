package check

import (
	"os"
	"path/filepath"
	"testing"
)

// The order of a source is that of the answers that counted. Where no worker was told which one did, any may have.
func TestOrderOfAnswers(t *testing.T) {
	const (
		first  = "D 10 0 1 1 0:0,7,0\nA 11 0 1 0 1\n"
		second = "D 12 0 2 1 0:9,7,1\nA 13 0 2 0 1\n"
		slow   = "D 5 0 1 1 0:0,7,0\nA 20 0 1 0 1\n" // answers the first line when its lease has ended
		slower = "D 6 0 1 1 0:0,7,0\nA 14 0 1 0 1\n"
		told   = "D 16 0 3 1 0:9,7,1\nA 17 0 3 0 1\nK 18 0 3 0 1\n" // the second line
		third  = "D 14 0 1 1 0:18,7,2\nA 15 0 1 0 1\n"
		again  = "D 19 0 2 1 0:18,7,2\nA 20 0 2 0 1\n"
		other  = "D 1 0 3 1 0:27,8,0\nA 2 0 3 0 1\n" // source
	)
	for name, x := range map[string]struct {
		ledgers   []string
		reordered int
	}{
		"in order":                          {[]string{first + second}, 0},
		"the second one first":              {[]string{second, slow}, 1},
		"a late answer, none is told":       {[]string{slow, first + second}, 0},
		"a late answer, and it is refused":  {[]string{slow, first + "K 14 0 1 0 1\n" + second}, 0},
		"a late answer, and it counts":      {[]string{slow + "K 21 0 1 0 1\n", first + second}, 1},
		"both are late":                     {[]string{slow, slower, second}, 1},
		"too early for a line that is told": {[]string{first, told, third}, 1},
		"again, and no longer too early":    {[]string{first, told, third + again}, 0},
		"another source":                    {[]string{second + other}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := HandOut{Ordered: true}
			for i, text := range x.ledgers {
				path := filepath.Join(t.TempDir(), "ledger")
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(i, err)
				}
				h.Ledgers = append(h.Ledgers, path)
			}
			r, err := h.Check()
			if err != nil {
				t.Fatal(err)
			}
			if want := x.reordered; r.Reordered != want || r.Lost+r.Doubled+r.Late != 0 {
				t.Errorf("%s, want reordered=%d: %q", r, want, r.First)
			}
		})
	}
}
