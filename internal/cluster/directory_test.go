package cluster

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

// A member that died is there again when the bucket is opened again. It keeps what it owns for
// takeover_after, and gets nothing; one that lives gets its share when it shows that.
func TestReplayedMembers(t *testing.T) {
	now := time.Now()
	for _, trust := range []time.Duration{0, 2 * time.Second} {
		d := newDirectory(8*time.Second, trust)
		sign := func(id string) {
			data, _ := json.Marshal(Peer{ID: id})
			d.seePeer(id, data, false, now)
		}
		check := func(after time.Duration, want ...string) {
			t.Helper()
			d.lastBeat = now.Add(after)
			got := d.eligible("me", now.Add(after))
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("trust %s, after %s: eligible are %q, want %q", trust, after, got, want)
			}
		}
		sign("dead")
		sign("lives")
		sign("me")
		d.complete, d.lastBeat, d.since = true, now, now
		if trust > 0 {
			check(time.Second, "dead", "lives", "me")
		}
		check(trust, "me")
		sign("lives")
		check(trust, "lives", "me")
		d.lastBeat = now.Add(9 * time.Second)
		if !d.alive("dead", now.Add(7*time.Second)) || d.alive("dead", now.Add(9*time.Second)) {
			t.Errorf("trust %s: a member that was there when the watch began is not alive for takeover_after", trust)
		}
	}
}
