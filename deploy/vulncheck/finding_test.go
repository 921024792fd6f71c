package main

import (
	"fmt"
	"testing"
)

// TestCalled: only what is called counts, once, and Go's library is told from modules.
func TestCalled(t *testing.T) {
	const messages = `{"config":{"go_version":"go1.26.8"}}
{"osv":{"id":"GO-2026-0001"}}
{"finding":{"osv":"GO-2026-0001","fixed_version":"v1.26.9","trace":[{"module":"stdlib","version":"v1.26.8","package":"net/http"}]}}
{"finding":{"osv":"GO-2026-0002","fixed_version":"v1.26.9","trace":[{"module":"stdlib","version":"v1.26.8","package":"crypto/tls","function":"Read"},{"module":"fanin","package":"fanin/ingest","function":"serve"}]}}
{"finding":{"osv":"GO-2026-0002","fixed_version":"v1.26.9","trace":[{"module":"stdlib","version":"v1.26.8","package":"crypto/tls","function":"Read"}]}}
{"finding":{"osv":"GO-2026-0003","trace":[{"module":"example.net/m","version":"v1.0.0","package":"example.net/m/p","function":"F"}]}}
`
	list, version, err := called([]byte(messages))
	if err != nil || version != "go1.26.8" {
		t.Fatalf("%q, %v", version, err)
	}
	const want = `[GO-2026-0003: example.net/m v1.0.0 (example.net/m/p.F); repaired in no release yet ` +
		`GO-2026-0002: Go's library go1.26.8 (crypto/tls.Read); repaired in go1.26.9]`
	if got := fmt.Sprint(list); got != want {
		t.Errorf("called are\n%s\nwant\n%s", got, want)
	}
	for _, bad := range []string{"", "{", `{"progress":{}}`} {
		if _, _, err := called([]byte(bad)); err == nil {
			t.Errorf("%q is no error", bad)
		}
	}
}
