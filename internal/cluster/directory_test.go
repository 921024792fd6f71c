package cluster

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"
)

// A member that died is there again when the bucket is opened again, or NATS was away. It keeps what it
// owns for takeover_after, and gets nothing; one that lives gets its share when it shows that. Until
// all have had the time to, nothing is taken that would move again.
func TestSilentMembers(t *testing.T) {
	now := time.Now()
	d := newDirectory(8 * time.Second)
	sign := func(id string, after time.Duration) {
		data, _ := json.Marshal(Peer{ID: id})
		d.seePeer(id, data, 7, false, now.Add(after))
	}
	check := func(after time.Duration, settled bool, want ...string) {
		t.Helper()
		sign("me", after)
		d.lastBeat = now.Add(after)
		got := d.eligible("me", now.Add(after))
		if slices.Sort(got); !slices.Equal(got, want) || d.settled("me", now.Add(after)) != settled {
			t.Errorf("after %s: eligible are %q, want %q; settled: %v", after, got, want, !settled)
		}
	}
	sign("dead", 0)
	sign("lives", 0)
	check(0, false, "me")
	d.lastBeat = time.Time{}
	d.beat(now)
	check(time.Second/2, false, "me")
	sign("lives", time.Second)
	check(time.Second, false, "lives", "me")
	check(2*time.Second, true, "lives", "me")
	if !d.alive("dead", now.Add(2*time.Second)) {
		t.Error("a member that was there when the watch began is not alive for takeover_after")
	}
	sign("dead", 3*time.Second) // it lives, until NATS is away
	check(3*time.Second, true, "dead", "lives", "me")
	d.beat(now.Add(20 * time.Second))
	check(20*time.Second, false, "me")
	if !d.alive("dead", now.Add(21*time.Second)) {
		t.Error("a member is not alive for takeover_after when NATS is back")
	}
	sign("lives", 21*time.Second)
	check(22*time.Second, true, "lives", "me")
	if check(29*time.Second, true, "me"); d.alive("dead", now.Add(29*time.Second)) {
		t.Error("a member is alive that was silent for takeover_after")
	}
	sign("lives", 95*time.Second)
	for after, want := range map[time.Duration]map[string]uint64{99 * time.Second: {}, 100 * time.Second: {"dead": 7}} {
		d.lastBeat = now.Add(after)
		if got := d.silent(now.Add(after)); !maps.Equal(got, want) {
			t.Errorf("after %s, %v may be removed", after, got)
		}
	}
}
