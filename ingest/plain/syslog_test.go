package plain_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/ingest/stream"
	"fanin/ingest/syslog"
	"fanin/internal/certs/certstest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// shown are the lines of batches, each with its source.
func shown(batches []wire.Batch) (all []string) {
	for _, b := range batches {
		for labels, text := range b.Runs() {
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSuffix(line, "\n")
				if b.Joined {
					line = string(wire.AppendRecordText(nil, []byte(line)))
				}
				all = append(all, labels.Source+": "+line)
			}
		}
	}
	return all
}

// waitShown waits for lines.
func waitShown(t *testing.T, k *ingesttest.Recorder, want ...string) {
	t.Helper()
	_, batches := k.Wait(t, func(_ string, batches []wire.Batch) bool { return len(shown(batches)) >= len(want) })
	if got := shown(batches); !slices.Equal(got, want) {
		t.Fatalf("recorded are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// counted is a message with its octet count.
func counted(msg string) string { return fmt.Sprintf("%d %s", len(msg), msg) }

// TestFramesByByte: however a connection cuts them, messages of all framings are told apart.
func TestFramesByByte(t *testing.T) {
	k := ingesttest.NewRecorder()
	nc := ingesttest.Dial(t, ingesttest.Start(t, &ingesttest.TCP{Out: k, Syslog: &syslog.Settings{Source: "tcp"}}))
	nc.SetNoDelay(true)
	text := "a line\n" + counted("<13>Oct 11 22:14:15 mymachine su: one\ntwo") + "\n<13>Oct 11 22:14:15 mymachine su[7]: three\n" +
		counted("<13>1 - - - - - - four") + counted("<999>five") + "2026-10-11 six <7>\n<13>seven\x00\n\x0008 <13>eight\n\n"
	for i := range len(text) {
		io.WriteString(nc, text[i:i+1])
	}
	nc.Close()
	waitShown(t, k, "tcp: a line", "su: host=mymachine one\ntwo", "su[7]: host=mymachine three", "tcp: four", "tcp: <999>five", "tcp: 2026-10-11 six <7>",
		"tcp: seven", "tcp: 08 <13>eight", "tcp: ")
}

// TestWrongCounts: each wrong count is told, and costs no more than what it names.
func TestWrongCounts(t *testing.T) {
	const maxLine = 1 << 10
	long := strings.Repeat("x", 5000)
	for text, want := range map[string]struct {
		lines  []string
		reason string
	}{
		"7 <13>short\n<13>next\n":                                         {[]string{"tcp: sho", "tcp: rt", "tcp: next"}, "length"},
		"4294967296 <13>four gigabytes\n<13>next\n":                       {[]string{"tcp: 4294967296 <13>four gigabytes", "tcp: next"}, "number"},
		"-7 <13>negative\n<13>next\n":                                     {[]string{"tcp: -7 <13>negative", "tcp: next"}, "number"},
		"007 <13>zeros\n<13>next\n":                                       {[]string{"tcp: 007 <13>zeros", "tcp: next"}, "number"},
		"999 <13>too long for what comes":                                 {[]string{"tcp: too long for what comes"}, "cut"},
		counted("<13>"+long) + counted("<13>next"):                        {[]string{"tcp: " + long[:maxLine-len("<13>")], "tcp: next"}, "too_long"},
		counted("<13>" + strings.Repeat("\n", 400)):                       {[]string{"tcp: " + strings.Repeat("\n", 399)}, ""},
		counted("<13>"+strings.Repeat("y", maxLine-4)) + counted("<13>z"): {[]string{"tcp: " + strings.Repeat("y", maxLine-4), "tcp: z"}, ""},
	} {
		k := ingesttest.NewRecorder()
		metrics := new(ingest.Metrics)
		nc := ingesttest.Dial(t, ingesttest.Start(t, &ingesttest.TCP{Out: k, MaxLine: maxLine, Metrics: metrics, Syslog: &syslog.Settings{Source: "tcp"}}))
		io.WriteString(nc, text)
		nc.Close()
		waitShown(t, k, want.lines...)
		for _, reason := range []string{"length", "number", "cut", "too_long"} {
			n := 0
			if reason == want.reason {
				n = 1
			}
			if got := ingesttest.Metric(t, metrics, "fanin_syslog_wrong_frames_total", reason); got != n {
				t.Errorf("%.30q: %s is counted %d times, want %d", text, reason, got, n)
			}
		}
	}
}

// TestSkippedBytes: what is left out is counted exactly, and reported in the log.
func TestSkippedBytes(t *testing.T) {
	k := ingesttest.NewRecorder()
	var mu sync.Mutex
	var notices []string
	s := &ingesttest.TCP{Out: k, MaxLine: 256, Metrics: new(ingest.Metrics), Syslog: &syslog.Settings{Source: "tcp"}, Notice: func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		notices = append(notices, fmt.Sprintf(format, args...))
	}}
	t.Cleanup(func() { // the listener has shut down
		mu.Lock()
		defer mu.Unlock()
		if all := strings.Join(notices, "\n"); !strings.Contains(all, "LOST n=1000000 unit=bytes reason=too-long input=tcp") {
			t.Errorf("the notices are %q", all)
		}
	})
	nc := ingesttest.Dial(t, ingesttest.Start(t, s))
	io.WriteString(nc, "1000256 <13>")
	for range 1_000_252 / 1024 {
		io.WriteString(nc, strings.Repeat("x", 1024))
	}
	io.WriteString(nc, strings.Repeat("x", 1_000_252%1024)+"<13>next\n")
	waitShown(t, k, "tcp: "+strings.Repeat("x", 252), "tcp: next")
	if n := ingesttest.Metric(t, s.Metrics, "fanin_syslog_skipped_bytes_total", ""); n != 1_000_000 {
		t.Errorf("%d bytes are counted", n)
	}
}

// TestLongMessages: a message without an end, or for which there is no time, is divided, and all
// parts have its labels.
func TestLongMessages(t *testing.T) {
	const maxLine = 2 << 10
	for name, beginning := range map[string]string{"newline": "<13>Oct 11 22:14:15 su: ", "count": "10024 <13>Oct 11 22:14:15 su: "} {
		k := ingesttest.NewRecorder()
		s := &ingesttest.TCP{Out: k, MaxLine: 16 << 10, Limits: stream.Limits{FrameTimeout: 10 * time.Millisecond}, Syslog: &syslog.Settings{Source: "tcp"}}
		if name == "newline" {
			s.MaxLine = maxLine
		}
		nc := ingesttest.Dial(t, ingesttest.Start(t, s))
		io.WriteString(nc, beginning+strings.Repeat("a", 9000))
		k.Wait(t, func(text string, _ []wire.Batch) bool { return strings.Contains(text, wire.SplitMark) })
		io.WriteString(nc, strings.Repeat("b", 1000)+"\n<13>next\n")
		_, batches := k.Wait(t, func(text string, _ []wire.Batch) bool { return strings.Contains(text, "next") })
		got := shown(batches)
		for _, line := range got[:len(got)-1] {
			if !strings.HasPrefix(line, "su: ") {
				t.Errorf("%s: a part is %.60q", name, line)
			}
		}
		text := ingesttest.Joined([]byte(strings.ReplaceAll(strings.Join(got[:len(got)-1], "\n"), "su: ", "")))
		if want := strings.Repeat("a", 9000) + strings.Repeat("b", 1000); strings.TrimSpace(string(text)) != want || got[len(got)-1] != "tcp: next" {
			t.Errorf("%s: %d lines, joined %d bytes, last %.60q", name, len(got), len(text), got[len(got)-1])
		}
	}
}

// TestSyslogOverTLS: RFC 5425 has octet counts, and many send newlines.
func TestSyslogOverTLS(t *testing.T) {
	ca, k := certstest.New(t), ingesttest.NewRecorder()
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: k, Syslog: &syslog.Settings{Source: "tcp"}, TLS: &tls.Config{Certificates: []tls.Certificate{ca.Sign("collector")}}})
	nc := tls.Client(ingesttest.Dial(t, addr), &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1"})
	io.WriteString(nc, counted("<13>1 - - app - - - one\ntwo")+"<13>three\n"+counted("<13>four"))
	waitShown(t, k, "app: one\ntwo", "tcp: three", "tcp: four")
}

// TestSyslogDatagrams: a datagram of syslog is one message, and any other is lines as they are.
func TestSyslogDatagrams(t *testing.T) {
	k := ingesttest.NewRecorder()
	u := &ingesttest.UDP{MaxLine: 256, Syslog: &syslog.Settings{Source: "udp"}}
	u.Out = k
	to, _ := ingesttest.StartUDP(t, u, "127.0.0.1:0")
	nc, err := net.DialUDP("udp", nil, to)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	long := strings.Repeat("x", 300)
	want := []string{"su: one\ntwo", "udp: three", "udp: four \xc0n", "udp: five \xc0\xc0", "", "udp: "}
	for i, text := range []string{"<13>Oct 11 22:14:15 su: one\ntwo\n", "three\nfour \xc0n\n", "<13>five \xc0\xc0\x00", "<13>" + long, "<13>"} {
		nc.Write([]byte(text))
		if n := []int{1, 3, 4, 6, 7}[i]; i == 3 {
			_, batches := k.Wait(t, func(_ string, batches []wire.Batch) bool { return len(shown(batches)) >= n })
			got := shown(batches)
			if all := ingesttest.Joined([]byte(strings.ReplaceAll(strings.Join(got[4:], "\n"), "udp: ", ""))); string(all) != long {
				t.Errorf("the long one is %q", got[4:])
			}
			want = append(slices.Clone(got), "udp: ")
		} else {
			waitShown(t, k, want[:n]...)
		}
	}
	if n := u.Counts("udp"); n.Received != 7 || n.Split != 1 {
		t.Errorf("%+v", n)
	}
}

// TestLostCount: when lines are not written, those that were read behind them are counted, too.
func TestLostCount(t *testing.T) {
	for name, line := range map[string]func(i int) string{
		"syslog":  func(i int) string { return fmt.Sprintf("<13>app%d: x\n", i) },
		"counted": func(i int) string { return counted(fmt.Sprintf("<13>app%d: x\ny", i)) },
		"plain":   func(i int) string { return fmt.Sprintf("line %d\n", i) },
	} {
		const more = 100 // they fit the first block
		k, appending, goOn := ingesttest.NewRecorder(), make(chan bool, 9), make(chan bool)
		k.Outcome = func(context.Context, wire.Batch) error {
			appending <- true
			<-goOn
			return wire.ErrDraining
		}
		s := &ingesttest.TCP{Out: k, Syslog: &syslog.Settings{Source: "tcp"}}
		nc := ingesttest.Dial(t, ingesttest.Start(t, s))
		io.WriteString(nc, line(0))
		<-appending
		text := ""
		for i := range more {
			text += line(1 + i)
		}
		io.WriteString(nc, text+"<13>begun")
		nc.CloseWrite() // so that no end of a message is waited for
		time.Sleep(100 * time.Millisecond)
		close(goOn)
		waittest.Until(t, "the connection ends", func() bool { return s.Rejected(t, "draining") == 1 })
		if c := s.Counts("tcp"); c.Unsure != 1 || c.Received != more+2 || c.Dropped != more+1 {
			t.Errorf("%s: counted are %+v", name, c)
		}
	}
}

// TestLostCountOfBatches: what a read brought becomes several batches, of which one is not written:
// the lines behind it are counted.
func TestLostCountOfBatches(t *testing.T) {
	k := ingesttest.NewRecorder()
	k.Outcome = func(_ context.Context, b wire.Batch) error {
		if len(b.Marks) == wire.MaxMarks {
			return wire.ErrDraining
		}
		return nil
	}
	s := &ingesttest.TCP{Out: k, Syslog: &syslog.Settings{Source: "tcp"}}
	nc := ingesttest.Dial(t, ingesttest.Start(t, s))
	var text strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&text, "<13>app%d: x\n", i)
	}
	io.WriteString(nc, text.String())
	waittest.Until(t, "the connection ends", func() bool { return s.Rejected(t, "draining") == 1 })
	written := strings.Count(k.Text(), "\n")
	if c := s.Counts("tcp"); c.Dropped == 0 || int(c.Received) != written+int(c.Unsure+c.Dropped) {
		t.Errorf("counted are %+v, written %d", c, written)
	}
}
