package syslog

import (
	"fmt"
	"testing"

	"fanin/internal/wire"
)

// TestNames: names that come again cost no memory, also many of them, and how much is remembered
// is bounded.
func TestNames(t *testing.T) {
	const most = 256 << 10
	n := newNames(most, func(raw string) (string, bool) {
		clean := wire.CleanSource(raw)
		return clean, clean == raw
	})
	var raw [][]byte
	for i := range 200 {
		raw = append(raw, fmt.Appendf(nil, "app-%d[%d]", i, i))
	}
	all := func() {
		for _, b := range raw {
			if clean, same := n.get(b); clean != string(b) || !same {
				t.Fatalf("%s is %s", b, clean)
			}
		}
	}
	for range 500 {
		all()
	}
	if pushed := n.pushed; testing.AllocsPerRun(10, all) > 20 {
		t.Errorf("names are forgotten: %d slots, %d pushed out", len(n.slots), pushed)
	}
	for i := range 100_000 {
		n.get(fmt.Appendf(nil, "%0200d", i))
		if n.bytes > most || len(n.slots)*slotBytes > most {
			t.Fatalf("%d bytes of names in %d slots", n.bytes, len(n.slots))
		}
	}
	for _, x := range []struct{ raw, clean string }{{"a b", "a_b"}, {"fanin", "fanin_"}, {"", ""}, {"x", "x"}} {
		for range 2 {
			if clean, same := n.get([]byte(x.raw)); clean != x.clean || same != (x.raw == x.clean) {
				t.Errorf("%q is %q, %v", x.raw, clean, same)
			}
		}
	}
}
