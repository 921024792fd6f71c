package gelf

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"

	"fanin/ingest"
	"fanin/ingest/datagram"
	"fanin/ingest/ingesttest"
	"fanin/internal/counters"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// udp is a listener for datagrams, and what it reports in the log.
type udp struct {
	ingesttest.UDP
	r    *ingesttest.Recorder
	p    *Datagrams
	to   *net.UDPAddr
	stop func()

	mu      sync.Mutex
	notices []string
}

func startUDP(t *testing.T, s Settings, maxIncomplete int64) *udp {
	t.Helper()
	u := &udp{r: ingesttest.NewRecorder()}
	u.Inputs, u.Metrics = new(counters.Set), new(ingest.Metrics)
	s.Metrics = u.Metrics
	u.p = &Datagrams{Settings: s, Inputs: u.Inputs, MaxIncomplete: maxIncomplete, Notice: func(format string, args ...any) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.notices = append(u.notices, fmt.Sprintf(format, args...))
	}}
	u.Out, u.Formats = u.r, []datagram.Format{u.p.Format()}
	u.to, u.stop = ingesttest.StartUDP(t, &u.UDP, "127.0.0.1:0")
	return u
}

// reported is the notices so far.
func (u *udp) reported() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return strings.Join(u.notices, "\n")
}

// lost is how many messages were lost for a reason.
func (u *udp) lost(t *testing.T, reason string) int {
	return ingesttest.Metric(t, u.Metrics, "fanin_gelf_lost_messages_total", reason)
}

// send sends datagrams, one after the other.
func (u *udp) send(t *testing.T, all ...[]byte) {
	t.Helper()
	c := ingesttest.DialUDP(t, u.to)
	for _, b := range all {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
}

// inChunks divides a message into chunks of n bytes.
func inChunks(id string, message []byte, n int) (all [][]byte) {
	count := (len(message) + n - 1) / n
	for i := range count {
		part := message[i*n : min(len(message), (i+1)*n)]
		all = append(all, append([]byte(chunkMagic+id[:8]+string([]byte{byte(i), byte(count)})), part...))
	}
	return all
}

func zlibOf(b string) []byte {
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	z.Write([]byte(b))
	z.Close()
	return out.Bytes()
}

func gzipOf(b string) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write([]byte(b))
	z.Close()
	return out.Bytes()
}

func said(text string) string { return fmt.Sprintf(`{"version":"1.1","short_message":%q}`, text) }

// Plain, zlib, gzip, chunks in order, backwards and doubled, chunks of what is compressed:
// each message is one line, once.
func TestDatagrams(t *testing.T) {
	u := startUDP(t, Settings{}, 0)
	long := strings.Repeat("all work and no play ", 500)
	u.send(t, []byte(said("plain")), zlibOf(said("zlib")), gzipOf(said("gzip")), []byte("\n\x00"))
	u.send(t, inChunks("in order", []byte(said("chunks")), 10)...)
	backwards := inChunks("backward", zlibOf(said(long)), 20)
	for i := len(backwards) - 1; i >= 0; i-- {
		u.send(t, backwards[i], backwards[i])
	}
	u.send(t, inChunks("only one", []byte(said("one chunk\nof two lines")), 1000)...)
	u.send(t, []byte(said("two")+"\n"+said("at once")+"\x00"))
	u.stop()
	batches := u.r.WaitText(t, "plain\nzlib\ngzip\nchunks\n"+long+"\none chunk\xc0\x8aof two lines\ntwo\nat once\n")
	joined(t, batches)
	n := u.Counts("gelf")
	if n.Received != 8 || n.Dropped != 0 || u.reported() != "" {
		t.Errorf("%+v, reported %q", n, u.reported())
	}
	doubled := ingesttest.Metric(t, u.Metrics, "fanin_gelf_ignored_chunks_total", chunkDoubled)
	if empty := ingesttest.Metric(t, u.Metrics, "fanin_udp_empty_datagrams_total", ""); doubled != len(backwards) || empty != 1 {
		t.Errorf("%d chunks were doubled, want %d; %d datagrams were empty", doubled, len(backwards), empty)
	}
}

// What makes no message is counted by reason and reported, and what comes after it is taken.
func TestDatagramsLost(t *testing.T) {
	u := startUDP(t, Settings{MaxMessage: 64 << 10}, 0)
	chunk := func(id string, number, count byte, data string) []byte {
		return append([]byte(chunkMagic+id), append([]byte{number, count}, data...)...)
	}
	large := ""
	for i := range 8000 {
		large += fmt.Sprintf("%08x ", i*i)
	}
	u.send(t,
		chunk("12345678", 0, 0, "zero"), chunk("12345678", 0, 129, "many"), chunk("12345678", 3, 3, "number"),
		[]byte(chunkMagic+"short"),
		chunk("mismatch", 0, 2, "a"), chunk("mismatch", 0, 2, "b"), chunk("mismatch", 1, 3, "c"), chunk("mismatch", 0, 2, "a"),
		zlibOf(said("torn"))[:12], []byte("\x1f\x8b\x08 not gzip"), []byte("\x78\x9c not zlib"),
		gzipOf(said(strings.Repeat("x", 60<<10))), zlibOf(said(large)))
	u.send(t, inChunks("toolarge", []byte(said(large)), 1000)...)
	u.send(t, []byte(said("after")))
	u.r.WaitText(t, "after\n")
	u.stop()
	for reason, want := range map[string]int{lostCorrupt: 3, lostBomb: 1, lostLarge: 2, lostStopped: 1, lostTimeout: 0, lostMemory: 0} {
		if n := u.lost(t, reason); n != want {
			t.Errorf("%d messages were lost because of %q, want %d", n, reason, want)
		}
		if want > 0 && !strings.Contains(u.reported(), " unit=messages reason=gelf-"+reason+" peer=127.0.0.1: ") {
			t.Errorf("%q was not reported:\n%s", reason, u.reported())
		}
	}
	for reason, want := range map[string]int{chunkZero: 1, chunkTooMany: 1, chunkNumber: 1, chunkShort: 1, chunkMismatch: 2} {
		if n := ingesttest.Metric(t, u.Metrics, "fanin_gelf_ignored_chunks_total", reason); n != want {
			t.Errorf("%d chunks were ignored because of %q, want %d", n, reason, want)
		}
		if !strings.Contains(u.reported(), " unit=chunks reason=gelf-"+reason+" ") {
			t.Errorf("%q was not reported:\n%s", reason, u.reported())
		}
	}
	if n := u.Counts("gelf"); n.Received != 8 || n.Dropped != 7 {
		t.Errorf("%+v", n)
	}
}

// Labels of datagrams get to the batches, and a long message is several lines.
func TestDatagramLabels(t *testing.T) {
	u := startUDP(t, Settings{JSON: true, TrustHost: true, MaxLine: 1000}, 0)
	u.send(t, []byte(`{"host":"web-1","short_message":"one","facility":"app","_k":"v"}`),
		[]byte(`{"host":"web-2","short_message":"two\n`+strings.Repeat("x", 2500)+`","facility":"app","_k":"v"}`))
	u.stop()
	_, batches := u.r.Wait(t, func(_ string, b []wire.Batch) bool { return true })
	got := ""
	for _, b := range batches {
		for labels, text := range b.Runs() {
			got += labels.Host + " " + labels.Source + " " + fmt.Sprintf("%q", labels.Attributes) + " " + fmt.Sprint(bytes.Count(text, []byte("\n"))) + "\n"
		}
	}
	if want := "web-1 app \"\\x01k\\x01\\x00v\" 1\nweb-2 app \"\\x01k\\x01\\x00v\" 3\n"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if n := u.Counts("gelf"); n.Split != 1 || n.Received != 4 {
		t.Errorf("%+v", n)
	}
}

// A message larger than a block of the queue is taken.
func TestDatagramsLarge(t *testing.T) {
	u := startUDP(t, Settings{}, 0)
	text := strings.Repeat("0123456789", 90_000)
	c := ingesttest.DialUDP(t, u.to)
	for i, b := range inChunks("large id", []byte(said(text)), 60_000) {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if i < 15 {
			waittest.Until(t, "the chunk", func() bool {
				return ingesttest.Metric(t, u.Metrics, "fanin_udp_datagrams_total", "") > i
			})
		}
	}
	u.r.WaitText(t, text+"\n")
	u.stop()
}
