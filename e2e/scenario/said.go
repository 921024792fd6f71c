package scenario

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"fanin/sink"
)

// said is what the owners of a cluster say to the servers, whether or not these take it: that an owner
// was refused is no reason not to have tried.
type said struct {
	mu      sync.Mutex
	commits map[tenureKey][]sink.Position // where the log was, at each entry for the journal
	acked   map[tenureKey]uint64          // the last message that was acknowledged
}

// tenureKey is an owner's time as the owner of a partition.
type tenureKey struct {
	partition int
	epoch     uint64
}

// hear begins to hear. Servers pass on what is published to all that subscribe, also if a stream refuses it, or
// no consumer is there any more.
func hear(nc *nats.Conn) (*said, error) {
	s := &said{commits: make(map[tenureKey][]sink.Position), acked: make(map[tenureKey]uint64)}
	heard := map[string]nats.MsgHandler{"fanin-" + natsStream + "-journal.*": s.entry, "$JS.ACK.>": s.ack}
	for subject, take := range heard {
		sub, err := nc.Subscribe(subject, take)
		if err == nil {
			err = sub.SetPendingLimits(-1, -1)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nc.Flush()
}

// entry takes an entry in that an owner wants the journal to have.
func (s *said) entry(m *nats.Msg) {
	var e struct {
		Kind, At string
		Epoch    uint64
	}
	p, err := strconv.Atoi(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:])
	if err != nil || json.Unmarshal(m.Data, &e) != nil || e.Kind != "commit" {
		return
	}
	if at, err := sink.ParsePosition(e.At); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		key := tenureKey{p, e.Epoch}
		s.commits[key] = append(s.commits[key], at)
	}
}

// ack takes an acknowledgement in: its subject has the names of the stream and of the consumer, how often the
// message was delivered, and its number.
func (s *said) ack(m *nats.Msg) {
	_, rest, _ := strings.Cut(m.Subject, "."+natsStream+".fanin-")
	words := strings.Split(rest, ".")
	if len(words) < 3 {
		return
	}
	partition, epoch, _ := strings.Cut(words[0], "-")
	p, perr := strconv.Atoi(partition)
	e, eerr := strconv.ParseUint(epoch, 10, 64)
	number, nerr := strconv.ParseUint(words[2], 10, 64)
	if perr == nil && eerr == nil && nerr == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		key := tenureKey{p, e}
		s.acked[key] = max(s.acked[key], number)
	}
}
