// Package waittest waits in tests for what no event announces.
package waittest

import (
	"fmt"
	"testing"
	"time"
)

// Limit is how long a test waits before it fails: far longer than anything takes on
// a loaded machine, so that only a fault reaches it.
const Limit = 30 * time.Second

// Until waits until done reports true, and fails the test after Limit. what names the
// thing that was waited for.
func Until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(Limit); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain for %s", Limit, what)
		}
	}
}

// UntilEqual waits until get returns want, and fails the test after Limit with both.
func UntilEqual[T comparable](t testing.TB, what string, want T, get func() T) {
	t.Helper()
	var got T
	for end := time.Now().Add(Limit); ; time.Sleep(time.Millisecond) {
		if got = get(); got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain for %s: it is %.2000s, want %.2000s", Limit, what, fmt.Sprint(got), fmt.Sprint(want))
		}
	}
}
