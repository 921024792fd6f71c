package wire

import (
	"strings"
	"testing"
)

// TestAttributes: what was appended comes back in its order; what is unfit changes nothing.
func TestAttributes(t *testing.T) {
	var b []byte
	add := func(name, value string, want bool) {
		t.Helper()
		before := string(b)
		var ok bool
		if b, ok = AppendAttribute(b, name, []byte(value)); ok != want || !ok && string(b) != before {
			t.Errorf("%.70q: %v", name, ok)
		}
	}
	add("PRIORITY", "3", true)
	add("_UID", "", true)
	add("binary", "\x00\"\xff\n", true)
	add("", "x", false)
	add("a b", "x", false)
	add("a/b", "x", false)
	add("quo\"te", "x", false)
	add(strings.Repeat("n", maxAttributeName), "x", true)
	add(strings.Repeat("n", maxAttributeName+1), "x", false)
	add("large", strings.Repeat("v", MaxAttributes), false)
	add("rest", strings.Repeat("v", MaxAttributes-len(b)-attributeHeads-len("rest")), true)
	add("x", "", false)
	var got []string
	for name, value := range Attributes(b).All() {
		got = append(got, name+"="+value)
	}
	if want := "PRIORITY=3,_UID=,binary=\x00\"\xff\n,nnnn"; !strings.HasPrefix(strings.Join(got, ","), want) || len(got) != 5 {
		t.Errorf("%d attributes: %.100q", len(got), got)
	}
	if err := Attributes(b).check(); err != nil {
		t.Error(err)
	}
	for range Attributes(b).All() {
		break
	}
}

// FuzzAttributes: whatever bytes they are, they are refused, or make themselves again.
func FuzzAttributes(f *testing.F) {
	f.Add("")
	f.Add("\x01k\x01\x00v")
	f.Add("\x01k\x01\x00v\x02k2\x00\x00")
	f.Add("\x01k\xff\xffv")
	f.Fuzz(func(t *testing.T, s string) {
		var b []byte
		ok := true
		for name, value := range Attributes(s).All() {
			if b, ok = AppendAttribute(b, name, []byte(value)); !ok {
				break
			}
		}
		if fits := Attributes(s).check() == nil; fits != (ok && string(b) == s) {
			t.Fatalf("fits %v, %q came back as %q", fits, s, b)
		}
	})
}
