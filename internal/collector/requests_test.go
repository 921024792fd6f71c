package collector

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"fanin/internal/wire"
	"fanin/sink"
)

// messageAnswer is the answer to a request that comes as a message.
func (c *server) messageAnswer(t *testing.T, name string, q url.Values) (any, error) {
	t.Helper()
	all := c.messageRequests()
	i := slices.IndexFunc(all, func(r request) bool { return r.name == name })
	if i < 0 {
		t.Fatalf("messages cannot ask %s", name)
	}
	return all[i].answer(t.Context(), q)
}

// TestMessageRequests: what messages may ask is a fixed list, and what it answers is what
// the control socket answers.
func TestMessageRequests(t *testing.T) {
	c, _ := configured(t, "[collector.work]\nlisten = \"127.0.0.1:0\"\n")
	var names []string
	for _, r := range c.messageRequests() {
		names = append(names, r.name)
		if r.changes != (r.name == "rotate") {
			t.Errorf("%s changes something: %v", r.name, r.changes)
		}
	}
	if got, want := fmt.Sprint(names), "[ping status streams groups rotate]"; got != want {
		t.Errorf("messages may ask %s, want %s", got, want)
	}
	if v, err := c.messageAnswer(t, "ping", nil); err != nil || v.(pong).Log != c.sink.Status().Log {
		t.Errorf("ping: %v, %v", v, err)
	}
	if all := c.endpoints(); len(all) != len(names) {
		t.Errorf("%d endpoints for %d requests", len(all), len(names))
	}
}

// A message lists a bounded number of streams; too many are an error, and never a part of
// the list.
func TestMessageStreams(t *testing.T) {
	c, _ := configured(t, "")
	for i := range maxListed + 1 {
		b := wire.Batch{Op: wire.OpOpen, Stream: wire.NewStreamID(), Epoch: 1, Source: "app"}
		b.Agent, b.Host = "a", "a"
		if i == 0 {
			b.Agent = "b"
		}
		if err := c.sink.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.messageAnswer(t, "streams", nil); err == nil || !strings.Contains(err.Error(), "select them by agent") {
		t.Errorf("all: %v", err)
	}
	for agent, want := range map[string]int{"a": maxListed, "b": 1, "none": 0} {
		v, err := c.messageAnswer(t, "streams", url.Values{"agent": {agent}})
		if list, ok := v.([]sink.StreamStatus); err != nil || !ok || len(list) != want || list == nil {
			t.Errorf("%s: %d streams, %v; want %d", agent, len(list), err, want)
		}
	}
}
