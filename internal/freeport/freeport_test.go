package freeport

import (
	"slices"
	"testing"
)

// TestFind: ports differ, can be bound, and none is one that the system hands out.
func TestFind(t *testing.T) {
	ports, err := Find(200)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ports)
	if n := len(slices.Compact(slices.Clone(ports))); n != 200 {
		t.Errorf("%d different ports of 200", n)
	}
	if begin := systemRange(); ports[0] < first || ports[199] >= begin {
		t.Errorf("ports from %d to %d; the system's range begins at %d", ports[0], ports[199], begin)
	}
	for _, port := range ports {
		tcp, udp, err := bind(port)
		if err != nil {
			t.Fatalf("port %d is not free: %v", port, err)
		}
		tcp.Close()
		udp.Close()
	}
}
