package gelf

import "testing"

// A message whose labels were seen lately takes no memory of its own.
func TestScanAllocates(t *testing.T) {
	for name, s := range map[string]Settings{"text": {}, "keep": {KeepFields: true}, "json": {JSON: true, SenderTime: true}} {
		x := s.New()
		message, line := make([]byte, len(docker)), make([]byte, 0, 4096)
		n := testing.AllocsPerRun(100, func() {
			copy(message, docker)
			line, _, _ = x.Scan(line[:0], message, &Origin{Host: "192.0.2.1", Now: now})
		})
		if n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
