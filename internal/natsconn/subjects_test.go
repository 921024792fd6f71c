package natsconn

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"pgregory.net/rapid"
)

func TestOverlap(t *testing.T) {
	f := func(a, b string, want bool) {
		t.Helper()
		if Overlap(a, b) != want || Overlap(b, a) != want {
			t.Errorf("%q and %q: want %v", a, b, want)
		}
	}
	f("a", "a", true)
	f("a", "b", false)
	f("a", "a.b", false)
	f("a.>", "a", false)
	f("a.>", "a.b", true)
	f("a.>", "a.b.c", true)
	f("a.>", "b.>", false)
	f(">", "a", true)
	f(">", "a.*.c", true)
	f("a.*", "*.b", true)
	f("a.*", "a.b.c", false)
	f("a.*.c", "a.b.>", true)
	f("a.*.>", "a.b", false)
	f("*.b.>", "a.>", true)
	f("fanin.tail.>", "fanin.agent.*", false)
	f("logs.*", "logs.a", true)
	f("logs.*", "logs.a.b", false)
	f("*", "a.b", false)
	f("a.*.c", "a.b.c", true)
}

// TestOverlapIsTheServers: a NATS server decides the same.
func TestOverlapIsTheServers(t *testing.T) {
	part := rapid.SampledFrom([]string{"a", "b", "*"})
	subject := rapid.Custom(func(t *rapid.T) string {
		parts := rapid.SliceOfN(part, 1, 4).Draw(t, "parts")
		if rapid.Bool().Draw(t, "open") {
			parts[len(parts)-1] = ">"
		}
		return strings.Join(parts, ".")
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := subject.Draw(t, "a"), subject.Draw(t, "b")
		if got, want := Overlap(a, b), server.SubjectsCollide(a, b); got != want {
			t.Fatalf("%q and %q: got %v, the server decides %v", a, b, got, want)
		}
	})
}
