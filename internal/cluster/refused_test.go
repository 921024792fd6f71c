package cluster

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natstest"
	"fanin/internal/waittest"
)

// A journal or a bucket that forgets entries by itself is refused, with what to do.
func TestLimitsRefused(t *testing.T) {
	s := natstest.New(t)
	js := s.JetStream(s.Connect())
	c := &Config{Name: "LOGS", Replicas: 1}
	for i, row := range []struct {
		c    jetstream.StreamConfig
		want string
	}{
		{jetstream.StreamConfig{MaxAge: time.Hour}, "max_age = 1h0m0s"},
		{jetstream.StreamConfig{MaxMsgs: 1000}, "max_msgs = 1000"},
		{jetstream.StreamConfig{MaxBytes: 1 << 20}, "--max-bytes=-1"},
		{jetstream.StreamConfig{MaxMsgsPerSubject: 9}, "max_msgs_per_subject = 9"},
		{jetstream.StreamConfig{MaxMsgSize: 1000}, "max_msg_size = 1000"},
		{jetstream.StreamConfig{Storage: jetstream.MemoryStorage}, "storage"},
		{jetstream.StreamConfig{Retention: jetstream.InterestPolicy}, "retention"},
		{jetstream.StreamConfig{}, ""},
		{jetstream.StreamConfig{MaxBytes: 1 << 20, Discard: jetstream.DiscardNew}, ""}, // writers wait
	} {
		c := &Config{Name: fmt.Sprintf("LOGS%d", i), Replicas: 1} // a server may be removing the files of one that was deleted
		row.c.Name, row.c.Subjects = c.journal(), []string{c.journal() + ".*"}
		if _, err := js.CreateStream(t.Context(), row.c); err != nil {
			t.Fatal(err)
		}
		_, err := openJournals(t.Context(), js, c)
		if (err == nil) != (row.want == "") || err != nil &&
			(!errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), row.c.Name)) {
			t.Errorf("%q: %v", row.want, err)
		}
	}
	_, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: c.bucket(), TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openBucket(t.Context(), js, c); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "max_age = 1h0m0s") {
		t.Errorf("a bucket: %v", err)
	}
}

// takeover_after is the same for all members: another value is refused while one lives, with both.
func TestTakeoverAfterRefused(t *testing.T) {
	s := natstest.New(t)
	a := start(t, s, "a")
	shares(t, "5 of 5", a)
	longer := func(c *Config) { c.TakeoverAfter = 3 * time.Second }
	b := start(t, s, "b", longer)
	if err := <-b.done; !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), `takeover_after = "2s"`) ||
		!strings.Contains(err.Error(), `"3s"`) {
		t.Errorf("another takeover_after: %v", err)
	}
	shares(t, "5 of 5", a)
	a.conn.Close() // it dies, and its record stays
	c := start(t, s, "c", longer)
	shares(t, "5 of 5", c)
	if set, _, err := c.store().settings(t.Context()); err != nil || set.TakeoverAfter != "3s" {
		t.Errorf("the settings are %+v, %v", set, err)
	}
	c.stop(t)
}

// What was deleted while a member runs does not end it: it goes on when that is there again.
func TestDeletedDoesNotEnd(t *testing.T) {
	s := natstest.New(t)
	first := start(t, s, "a")
	shares(t, "5 of 5", first)
	first.stop(t)
	a := start(t, s, "a", func(c *Config) { c.Create = false })
	shares(t, "5 of 5", a)
	js := s.JetStream(s.Connect())
	if err := js.DeleteKeyValue(t.Context(), a.Config.bucket()); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "it says what is missing", func() bool { return strings.Contains(a.Trouble(), "set create = true") })
	b := start(t, s, "b") // makes it
	shares(t, "2+3 of 5", a, b)
	a.stop(t)
	b.stop(t)
}

// The record of a member that does not come back is removed.
func TestForgottenMember(t *testing.T) {
	s := natstest.New(t)
	a := start(t, s, "a")
	shares(t, "5 of 5", a)
	if _, err := a.store().set(t.Context(), keyMember+"dead", Peer{ID: "dead"}); err != nil {
		t.Fatal(err)
	}
	names := func() (ids []string) {
		for _, p := range a.Peers() {
			ids = append(ids, p.ID)
		}
		return ids
	}
	waittest.UntilEqual(t, "the members", "a dead", func() string { return strings.Join(names(), " ") })
	a.mu.Lock()
	a.dir.peers["dead"].at = time.Now().Add(-time.Hour)
	a.dir.since = time.Now().Add(-time.Hour)
	a.mu.Unlock()
	waittest.UntilEqual(t, "the members", "a", func() string { return strings.Join(names(), " ") })
	a.stop(t)
}
