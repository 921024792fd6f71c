package scenario

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"fanin/sink"
)

// What owners say is told apart by partition and epoch, whatever else servers pass on.
func TestSaid(t *testing.T) {
	s := &said{commits: make(map[tenureKey][]sink.Position), acked: make(map[tenureKey]uint64)}
	for _, subject := range []string{
		"$JS.ACK.LOGS.fanin-3-17.1.42.40.1700000000000000000.0",
		"$JS.ACK.LOGS.fanin-3-17.1.41.41.1700000000000000000.0",
		"$JS.ACK._.h4sh.LOGS.fanin-3-19.2.44.1.1700000000000000000.0", // with a domain
		"$JS.ACK.KV_fanin-LOGS.watch.1.99.1.1700000000000000000.0",
		"$JS.ACK.fanin-LOGS-journal.fanin-3-17.1.99.1.1700000000000000000.0",
		"$JS.ACK.LOGS.work.1.99.1.1700000000000000000.0",
	} {
		s.ack(&nats.Msg{Subject: subject})
	}
	if got, want := fmt.Sprint(s.acked), "map[{3 17}:42 {3 19}:44]"; got != want {
		t.Errorf("acknowledged %s, want %s", got, want)
	}
	for _, text := range []string{`{"kind":"claim","epoch":17}`, `{"kind":"commit","epoch":17,"at":"0:90"}`,
		`{"kind":"commit","epoch":17,"at":"1:5"}`, `{"kind":"release","epoch":17,"at":"1:5"}`, `x`} {
		s.entry(&nats.Msg{Subject: "fanin-LOGS-journal.3", Data: []byte(text)})
	}
	if got, want := fmt.Sprint(s.commits), "map[{3 17}:[0:90 1:5]]"; got != want {
		t.Errorf("committed %s, want %s", got, want)
	}
}
