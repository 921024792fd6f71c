package datagram_test

import (
	"bytes"
	"testing"
	"time"

	"fanin/ingest/datagram"
	"fanin/ingest/ingesttest"
	"fanin/internal/counters"
	"fanin/internal/wire"
)

// Handlers are asked in the order of the table, each with state of its own for a socket.
// What none handles is refused. Labels come from the handler.
func TestFormats(t *testing.T) {
	r, in := ingesttest.NewRecorder(), new(counters.Set).New("toy", counters.None)
	format := func(prefix, source string) datagram.Format {
		return func() datagram.Handler {
			n := 0
			return func(s *datagram.Socket, d *datagram.Datagram) bool {
				text, ok := bytes.CutPrefix(d.Data, []byte(prefix))
				if !ok {
					return false
				}
				n++
				s.AddLines(in, d, wire.Labels{Host: s.Names(d.Peer).Host, Source: source}, append(text, '0'+byte(n)))
				return true
			}
		}
	}
	u := &ingesttest.UDP{Listener: datagram.Listener{Out: r, Formats: []datagram.Format{format("a", "first"), format("ab", "never"), format("b", "second")}}}
	to, stop := ingesttest.StartUDP(t, u, "127.0.0.1:0")
	c := ingesttest.DialUDP(t, to)
	for _, d := range []string{"ab x", "b y", "c z", "a u"} {
		if _, err := c.Write([]byte(d)); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	r.WaitText(t, "b x1\n y1\n u2\n")
	sources := ""
	_, batches := r.Wait(t, func(string, []wire.Batch) bool { return true })
	for _, b := range batches {
		for labels, text := range b.Runs() {
			sources += labels.Source + string(text)
		}
	}
	if want := "firstb x1\nsecond y1\nfirst u2\n"; sources != want {
		t.Errorf("lines with their sources are %q, want %q", sources, want)
	}
	if n := u.Dropped(t, "refused"); n != 1 || in.Counts().Received != 3 {
		t.Errorf("%d datagrams refused and %d lines received; want 1 and 3", n, in.Counts().Received)
	}
}

// Records have their newlines, their attributes and their order, and a socket ticks also
// while nothing comes, and a last time at its end.
func TestRecordsAndTicks(t *testing.T) {
	r, in := ingesttest.NewRecorder(), new(counters.Set).New("toy", counters.None)
	ticks := make(chan time.Time, 100)
	format := func() datagram.Handler {
		first := true
		return func(s *datagram.Socket, d *datagram.Datagram) bool {
			if first {
				s.OnTick(func(now time.Time) { ticks <- now })
				first = false
			}
			name, _ := wire.AppendAttribute(nil, "kind", d.Data[:1])
			s.AddRecords(in, d, wire.Labels{Host: "h", Source: "s", Attributes: wire.Attributes(name)}, wire.AppendRecord(nil, d.Data))
			return true
		}
	}
	u := &ingesttest.UDP{Listener: datagram.Listener{Out: r, Formats: []datagram.Format{format}}}
	to, stop := ingesttest.StartUDP(t, u, "127.0.0.1:0")
	c := ingesttest.DialUDP(t, to)
	for _, d := range []string{"one\ntwo", "only", "x \xc0"} {
		if _, err := c.Write([]byte(d)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if now := <-ticks; now.IsZero() {
			t.Error("the last tick came early")
		}
	}
	stop()
	last := time.Now()
	for len(ticks) > 0 {
		last = <-ticks
	}
	if !last.IsZero() {
		t.Error("there was no last tick")
	}
	got := ""
	_, batches := r.Wait(t, func(string, []wire.Batch) bool { return true })
	for _, b := range batches {
		for labels, text := range b.Runs() {
			for name, value := range labels.Attributes.All() {
				got += name + "=" + value + " "
			}
			line := bytes.TrimSuffix(text, []byte("\n"))
			if b.Joined {
				line = wire.AppendRecordText(nil, line)
			}
			got += string(line) + "|"
		}
	}
	if want := "kind=o one\ntwo|kind=o only|kind=x x \xc0|"; got != want && got != "kind=o one\ntwo\nonly|kind=x x \xc0|" {
		t.Errorf("recorded is %q, want %q", got, want)
	}
}
