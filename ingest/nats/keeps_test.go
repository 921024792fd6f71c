package nats

import (
	"fmt"
	"testing"
	"time"

	"fanin/internal/natsconn"
	"fanin/internal/natstest"
	"fanin/internal/sequence"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// In a stream that keeps its messages, an owner begins behind what was made known. Where the numbers are
// those of other messages by now, it begins with those that came later.
func TestPartitionKeeps(t *testing.T) {
	s := natstest.New(t)
	nc, js := s.Connect(), s.JetStream(s.Connect())
	keeps := func(last sequence.Entry) func(*Partition) {
		return func(p *Partition) { p.Keep, p.Last = true, func() sequence.Entry { return last } }
	}
	memory := func() *appendertest.Memory {
		return &appendertest.Memory{Log: wire.StreamID{7}, Incarnation: wire.StreamID{7}}
	}
	first, stop := own(t, s, 0, 1, memory(), keeps(sequence.Entry{}))
	subject := subjectOf(0)
	var all string
	for i := range 6 {
		publishStored(t, nc, subject, fmt.Sprintf("line %d", i))
		all += fmt.Sprintf("line %d\n", i)
	}
	waitFor(t, first.log, first.Input, all)
	waittest.UntilEqual(t, "what was made known", 6, first.last)
	stop()
	stream, err := js.Stream(t.Context(), "LOGS")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 6 {
		t.Errorf("the stream has %d messages, want all 6", n)
	}
	at := func(seq uint64) sequence.Witness {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		return sequence.At(m.Time)
	}
	second := at(2)
	for i, x := range []struct {
		what string
		last sequence.Entry
		want string
	}{
		{"behind a message", sequence.Entry{Number: 4, Witness: at(4)}, "line 4\nline 5\n"},
		{"another message has the number", sequence.Entry{Number: 4, Witness: second}, "line 2\nline 3\nline 4\nline 5\n"},
		{"the stream is shorter", sequence.Entry{Number: 40, Witness: second}, "line 2\nline 3\nline 4\nline 5\n"},
	} {
		t.Run(x.what, func(t *testing.T) {
			o, stop := own(t, s, 0, uint64(i+2), memory(), keeps(x.last))
			defer stop()
			waitFor(t, o.log, o.Input, x.want)
		})
	}
	end, stop := own(t, s, 0, 9, memory(), keeps(sequence.Entry{Number: 40, Witness: sequence.At(time.Now())}))
	defer stop()
	publishStored(t, nc, subject, "line 6")
	waitFor(t, end.log, end.Input, "line 6\n")
}

// subjectOf is a subject of a partition of two.
func subjectOf(p int) string {
	for i := 0; ; i++ {
		if subject := fmt.Sprintf("logs.app%d", i); natsconn.Partition(subject, 2) == p {
			return subject
		}
	}
}
