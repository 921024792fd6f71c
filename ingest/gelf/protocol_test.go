package gelf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/ingest/stream"
	"fanin/internal/counters"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// tcp is a listener for connections.
type tcp struct {
	stream.Listener
	r      *ingesttest.Recorder
	inputs *counters.Set
	addr   string
	stop   func()

	metrics *ingest.Metrics // Serve writes the listener's fields
	budget  *ingest.Budget
}

func startTCP(t *testing.T, s Settings, change func(*tcp)) *tcp {
	t.Helper()
	x := &tcp{r: ingesttest.NewRecorder(), inputs: new(counters.Set)}
	x.metrics, x.budget = new(ingest.Metrics), new(ingest.Budget)
	x.Metrics, x.Budget, s.Metrics = x.metrics, x.budget, x.metrics
	if change != nil {
		change(x)
	}
	p := &Protocol{Settings: s, Out: x.r, Inputs: x.inputs}
	x.Formats = []stream.Format{p.Format()}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- x.Serve(ln) }() // ended by stop
	stopped := false
	x.stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := x.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != ingest.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
		if used := x.budget.Used(); used != 0 {
			t.Errorf("%d bytes of memory were not released", used)
		}
	}
	t.Cleanup(x.stop)
	return x
}

func (x *tcp) metric(t *testing.T, name, value string) int {
	t.Helper()
	return ingesttest.Metric(t, x.metrics, name, value)
}

// sent sends a text over a connection of its own, and ends it.
func (x *tcp) sent(t *testing.T, text string) {
	t.Helper()
	c := ingesttest.Dial(t, x.addr)
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	c.CloseWrite()
	io.Copy(io.Discard, c) // until the collector has taken it
}

// The ends of messages: NULs or newlines, as the first message shows, or the end of the
// connection.
func TestConnections(t *testing.T) {
	for name, x := range map[string]struct{ sent, want string }{
		"NULs":                 {said("one") + "\x00" + said("two") + "\x00", "one\ntwo\n"},
		"newlines":             {said("one") + "\n" + said("two") + "\r\n\n" + said("three"), "one\ntwo\nthree\n"},
		"both":                 {said("one") + "\n\x00" + said("two") + "\n\x00", "one\ntwo\n"},
		"both, NULs first":     {said("one") + "\x00\n" + said("two") + "\x00\n", "one\ntwo\n"},
		"newlines inside":      {"{\n \"short_message\":\n\"o}n\\\"e\"\n}\x00{\n\"short_message\":\"two\"\n}\x00", "o}n\"e\ntwo\n"},
		"blanks before":        {"\n\x00 \n" + said("one") + "\x00" + said("a\nb") + "\x00", "one\na\xc0\x8ab\n"},
		"no GELF":              {"hello\nworld\n", "hello\nworld\n"},
		"a brace without end":  {"{ hello\nworld", "{ hello\nworld\n"},
		"no end":               {said("one"), "one\n"},
		"nothing":              {"", ""},
		"only ends":            {"\x00\x00\n\x00", ""},
		"many ends":            {strings.Repeat("\x00", 3<<20) + said("one"), "one\n"},
		"many newlines":        {strings.Repeat("\n", 3<<20) + said("one"), "one\n"},
		"two between two NULs": {said("one") + said("two") + "\x00" + said("three") + "\x00", "one\ntwo\nthree\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startTCP(t, Settings{}, nil)
			s.sent(t, x.sent)
			s.r.WaitText(t, x.want)
			s.stop()
			joined(t, s.r.WaitText(t, x.want))
			if n := s.inputs.Of("gelf").Counts(); n.Received != uint64(strings.Count(x.want, "\n")) {
				t.Errorf("%+v", n)
			}
		})
	}
}

// The first message shows what ends messages: a newline within its braces or its strings
// does not.
func TestFramer(t *testing.T) {
	for text, want := range map[string]string{
		"{}\n{}\n":                `["{}" "{}" ""]`,
		"{\n}\x00{\n}\x00x":       `["{\n}" "{\n}" "x"]`,
		`{"a":"\"{"}` + "\n{}\n":  `["{\"a\":\"\\\"{\"}" "{}" ""]`,
		`{"a":"\\"}` + "\n{}\n":   `["{\"a\":\"\\\\\"}" "{}" ""]`,
		"{\"a\":\"\n\"}\n{}\n":    `["{\"a\":\"\n\"}" "{}" ""]`,
		"{\"a\":\"}\"\n}\x00{}\n": `["{\"a\":\"}\"\n}" "{}\n"]`,
		" \n\x00{}\n":             `[" \n\x00{}" ""]`,
	} {
		if got := fmt.Sprintf("%q", messages(new(framer), []byte(text))); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

// joined fails the test if a batch with records of several lines is not Joined.
func joined(t *testing.T, batches []wire.Batch) {
	t.Helper()
	for _, b := range batches {
		if wire.IsRecord(b.Text) != b.Joined {
			t.Errorf("a batch with the text %q is joined: %v", b.Text, b.Joined)
		}
	}
}

// However a text comes in pieces, the messages are the same.
func FuzzFramer(f *testing.F) {
	f.Add([]byte(said("one")+"\x00"+said("two")+"\x00"), []byte{3, 1, 40})
	f.Add([]byte("{\n\"a\":\"\\\"}\"\n}\n{}\nx\x00\n"), []byte{1, 1, 1, 1})
	f.Fuzz(func(t *testing.T, text, sizes []byte) {
		if len(text) > 1<<10 {
			return
		}
		var whole, pieces framer
		want := messages(&whole, text)
		var got []string
		var held []byte
		for i := 0; len(text) > 0; i++ {
			n := len(text)
			if i < len(sizes) {
				n = min(n, int(sizes[i]))
			}
			held, text = append(held, text[:n]...), text[n:]
			all := messages(&pieces, held)
			held = []byte(all[len(all)-1])
			got = append(got, all[:len(all)-1]...)
		}
		if got = append(got, string(held)); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Fatalf("in pieces %q, want %q", got, want)
		}
	})
}

// messages returns the messages in b, and what follows them.
func messages(f *framer, b []byte) (all []string) {
	for {
		length, size, ok := f.next(b)
		if !ok {
			return append(all, string(b))
		}
		all = append(all, string(b[:length]))
		b = b[size:]
	}
}

// Messages of all sizes, many in flight, each with labels of its own: in order, and complete.
func TestConnectionsMany(t *testing.T) {
	x := startTCP(t, Settings{JSON: true}, nil)
	var sent, want strings.Builder
	for i := range 20_000 {
		text := fmt.Sprintf("line %d %s", i, strings.Repeat("x", i%300))
		if i%5000 == 4999 {
			text += strings.Repeat("large ", 60_000)
		}
		fmt.Fprintf(&sent, `{"host":"web-%d","short_message":%q,"_n":%d}`+"\x00", i%7, text, i)
		want.WriteString(text + "\n")
	}
	x.sent(t, sent.String())
	batches := x.r.WaitText(t, want.String())
	lines := 0
	for _, b := range batches {
		for labels, text := range b.Runs() {
			if want := fmt.Sprintf("\x04host\x05\x00web-%d\x01n", lines%7); !strings.HasPrefix(string(labels.Attributes), want) {
				t.Fatalf("line %d has the attributes %q", lines, labels.Attributes)
			}
			lines += strings.Count(string(text), "\n")
		}
	}
	if lines != 20_000 {
		t.Errorf("%d lines", lines)
	}
}

// A message beyond max_message becomes parts, and the one after it is whole.
func TestConnectionsLarge(t *testing.T) {
	x := startTCP(t, Settings{MaxMessage: 64 << 10}, nil)
	large := `{"short_message":"` + strings.Repeat("äöü€", 50_000) + `"}`
	x.sent(t, said("before")+"\x00"+large+"\x00"+said("after")+"\x00")
	x.stop()
	got := x.r.Text()
	joined := strings.ReplaceAll(got, wire.SplitMark+"\n"+wire.SplitGoesOn, "")
	if joined != "before\n"+large+"\nafter\n" {
		t.Errorf("%d bytes became %d: %.100q", len(large), len(joined), joined)
	}
	if n := x.metric(t, "fanin_gelf_parted_messages_total", ""); n != 1 {
		t.Errorf("%d messages were parted", n)
	}
}

// A large message that does not go on holds its memory for so long, and what there is of it
// is then a line.
func TestConnectionsStalled(t *testing.T) {
	x := startTCP(t, Settings{}, func(x *tcp) { x.FrameTimeout = 50 * time.Millisecond })
	c := ingesttest.Dial(t, x.addr)
	half := `{"short_message":"` + strings.Repeat("x", 10_000)
	io.WriteString(c, half)
	x.r.WaitText(t, half+wire.SplitMark+"\n")
	waittest.Until(t, "the memory", func() bool { return x.budget.Used() == 0 })
	io.WriteString(c, `"}`+"\x00"+said("next")+"\x00")
	x.r.WaitText(t, half+wire.SplitMark+"\n"+wire.SplitGoesOn+`"}`+"\nnext\n")
}

// At a stop, what had arrived is a line, also where a message is not complete.
func TestConnectionsStop(t *testing.T) {
	x := startTCP(t, Settings{}, nil)
	c := ingesttest.Dial(t, x.addr)
	io.WriteString(c, said("one")+"\x00")
	x.r.WaitText(t, "one\n")
	io.WriteString(c, said("two")+"\x00"+`{"short_message":"thr`)
	x.stop()
	x.r.WaitText(t, "one\ntwo\n{\"short_message\":\"thr\n")
}

// Lines whose outcome is not known are counted, and the connection ends.
func TestConnectionsUnsure(t *testing.T) {
	x := startTCP(t, Settings{}, func(x *tcp) {
		x.r.Outcome = func(_ context.Context, b wire.Batch) error { return errors.New("no") }
	})
	c := ingesttest.Dial(t, x.addr)
	io.WriteString(c, said("one")+"\x00")
	io.Copy(io.Discard, c)
	waittest.Until(t, "the count", func() bool { return x.metric(t, "fanin_rejected_connections_total", "unknown") == 1 })
	if n := x.inputs.Of("gelf").Counts(); n.Unsure != 1 || n.InFlight() != 0 {
		t.Errorf("%+v", n)
	}
}
