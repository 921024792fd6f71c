package sink

import (
	"fmt"
	"strings"
	"testing"

	"fanin/internal/wire"
)

func sum(list []Sender) (n int64) {
	for _, s := range list {
		n += s.Bytes
	}
	return n
}

// The table of senders is bounded whatever senders call themselves and however
// many files there are, counts every byte once, and knows the large ones exactly.
func TestSendersAreBounded(t *testing.T) {
	var s shares
	want := int64(0)
	for i := range 100_000 {
		generation := uint64(i / 100)
		s.add(&wire.Batch{Agent: "large"}, 1000, generation)
		s.add(&wire.Batch{Agent: fmt.Sprint("random-", i)}, 10, generation)
		s.add(&wire.Batch{Host: fmt.Sprint("192.0.2.", i%3)}, 50, generation)
		want += 1060
	}
	if len(s.spans) > maxSpans {
		t.Errorf("%d stretches", len(s.spans))
	}
	for _, x := range s.spans {
		if len(x.bytes) > maxShares+1 {
			t.Errorf("%d senders in one stretch", len(x.bytes))
		}
	}
	list := s.list(0)
	if got := sum(list); got != want || len(list) > maxReportedSenders+1 {
		t.Errorf("%d bytes in %d rows, want %d", got, len(list), want)
	}
	if list[0] != (Sender{Agent: "large", Bytes: 100_000_000}) || list[1].Host == "" || list[1].Bytes < 1_600_000 {
		t.Errorf("the largest are %+v and %+v", list[0], list[1])
	}
	if list = s.list(1000); len(list) > 0 {
		t.Errorf("files that are gone still count: %+v", list)
	}
}

// TestSenderAboveHalf: a sender that has more than half of what may be kept is named,
// in the log once, and what is removed no longer counts.
func TestSenderAboveHalf(t *testing.T) {
	s := &Sink{Path: t.TempDir() + "/all.log", Rotation: RotationPolicy{Size: 64 << 10}, Retention: RetentionPolicy{Bytes: 400 << 10, Compress: "none"}}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.janitor.stop() // it works when it is told
	put := func(host string, n int) {
		t.Helper()
		text := strings.Repeat(strings.Repeat("x", 99)+"\n", 100)
		for range n {
			if err := s.Append(t.Context(), wire.Batch{Host: host, Source: "app", Text: []byte(text)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	pass := func() {
		t.Helper()
		if err := s.janitor.pass(t.Context(), s.janitor.clock.wall); err != nil {
			t.Fatal(err)
		}
	}
	put("192.0.2.1", 10)
	put("192.0.2.2", 10)
	pass()
	if list := s.Senders(); len(list) != 2 || list[0].AboveHalf {
		t.Errorf("senders %+v", list)
	}
	put("192.0.2.2", 10)
	pass()
	pass()
	if list := s.Senders(); len(list) != 2 || list[0].Host != "192.0.2.2" || !list[0].AboveHalf || list[1].AboveHalf {
		t.Errorf("senders %+v", list)
	}
	put("192.0.2.2", 60)
	pass()
	if list := s.Senders(); len(list) != 1 || list[0].Bytes > 600<<10 {
		t.Errorf("with the first files gone, senders are %+v", list)
	}
	if n := s.counts.notices.posted.Load(); n != 1 {
		t.Errorf("%d notices", n)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// However files are counted together, the newest is not: what was written before it
// goes with the files that hold it.
func TestNewestFileIsCountedAlone(t *testing.T) {
	var s shares
	for generation := range uint64(maxSpans) {
		s.add(&wire.Batch{Agent: "a"}, 1000, generation)
	}
	for generation := range uint64(3) { // small, and then there is one more
		s.add(&wire.Batch{Agent: "a"}, 1, maxSpans+generation)
	}
	if got := sum(s.list(maxSpans + 2)); got != 1 || len(s.spans) != 1 {
		t.Errorf("%d bytes in %d stretches are of the newest file, want 1", got, len(s.spans))
	}
}
