package stream

import (
	"testing"

	"fanin/internal/wire"
)

// FuzzMatch: bytes that follow never change a decision, and a decision comes at the
// latest with as many bytes as the longest magic.
func FuzzMatch(f *testing.F) {
	for _, s := range []string{
		"", "x", "\x97", wire.Magic, "\x97\xa5fanim", "\x16", "\x16\x03", "\x16\x03\x01", "\x16\x03\x09", "GET / HTTP/1.1\r\n",
	} {
		f.Add([]byte(s))
	}
	rows := (&Listener{Formats: []Format{{Name: "agent", Matches: wire.IsHello}, {Name: "plain"}}}).rows()
	f.Fuzz(func(t *testing.T, head []byte) {
		var decided *Format
		for n := range len(head) + 1 {
			row, undecided := match(rows, head[:n])
			if decided != nil && row != decided || !undecided && row == nil {
				t.Fatalf("%q matched %v and matches %v", head[:n], decided, row)
			}
			decided = row
		}
		if decided == nil && len(head) >= len(wire.Magic) {
			t.Fatalf("%q is still undecided", head)
		}
	})
}
