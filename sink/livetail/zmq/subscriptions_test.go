package zmq

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestSubscriptions compares what is subscribed to with a plain list of all that was added
// and not cancelled, over random topics of two letters, so that many are prefixes of others.
func TestSubscriptions(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	topic := func(longest int) []byte {
		b := make([]byte, random.IntN(longest+1))
		for i := range b {
			b[i] = "ab\x00\xff"[random.IntN(4)]
		}
		return b
	}
	for range 200 {
		var s subscriptions
		var model [][]byte
		for range random.IntN(60) {
			x := topic(4)
			if random.IntN(3) > 0 {
				if err := s.add(x); err != nil {
					t.Fatal(err)
				}
				model = append(model, x)
				continue
			}
			s.cancel(x)
			if i := slices.IndexFunc(model, func(y []byte) bool { return bytes.Equal(x, y) }); i >= 0 {
				model = slices.Delete(model, i, i+1)
			}
		}
		for range 50 {
			x := topic(6)
			want := slices.ContainsFunc(model, func(y []byte) bool { return bytes.HasPrefix(x, y) })
			if got := s.match(x); got != want {
				t.Fatalf("%q matches %v, want %v: %q", x, got, want, model)
			}
		}
		if got, want := s.every(), slices.ContainsFunc(model, func(y []byte) bool { return len(y) == 0 }); got != want {
			t.Fatalf("everything is subscribed to: %v, want %v", got, want)
		}
	}
}

// TestSubscriptionBounds: too many topics, and too long ones, are refused; what was
// subscribed to before stays, and a cancellation makes room.
func TestSubscriptionBounds(t *testing.T) {
	var s subscriptions
	for i := range maxSubscriptions {
		if err := s.add([]byte{byte(i >> 8), byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if s.add([]byte("one more")) == nil {
		t.Errorf("%d subscriptions", s.len())
	}
	if err := s.add([]byte{0, 1}); err != nil {
		t.Errorf("a known topic once more: %v", err)
	}
	s.cancel([]byte{0, 2})
	if err := s.add([]byte("one more")); err != nil || !s.match([]byte("one more thing")) || !s.match([]byte{0, 1}) {
		t.Errorf("after a cancellation: %v", err)
	}
	s = subscriptions{}
	if s.add(bytes.Repeat([]byte("x"), maxSubscriptionBytes+1)) == nil || s.add([]byte(strings.Repeat("x", maxSubscriptionBytes))) != nil ||
		s.add([]byte("y")) == nil {
		t.Errorf("%d bytes of topics", s.bytes)
	}
}

// FuzzSubscriptions: whatever a peer subscribes to and cancels, the bounds hold.
func FuzzSubscriptions(f *testing.F) {
	f.Add([]byte("\x01a\x00\x01ab\x00\x00a\x00\x01\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s subscriptions
		for _, x := range bytes.Split(b, []byte{0}) {
			if len(x) > 0 && x[0] == 1 {
				s.add(x[1:])
			} else {
				s.cancel(x)
			}
			s.match(x)
			if n := 0; s.len() > maxSubscriptions || s.bytes > maxSubscriptionBytes || s.bytes < 0 {
				t.Fatal(n, s.bytes)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	var s subscriptions
	for i := range maxSubscriptions {
		s.add([]byte{'w', 'e', 'b', byte('0' + i/100), byte('0' + i/10%10), byte('0' + i%10), '/'})
	}
	for b.Loop() {
		s.match([]byte("web311/nginx"))
	}
}
