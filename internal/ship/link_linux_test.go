package ship

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/internal/wire"
)

// forgetful is a log that accepts everything.
type forgetful struct{}

func (forgetful) Append(context.Context, wire.Batch) error { return nil }

// linked runs both sides over a real listener.
func linked(t *testing.T, change ...func(*TCP)) *TCP {
	t.Helper()
	_, _, addr := collect(t, func(s *ingesttest.TCP) { s.Out = forgetful{} })
	return connect(t, addr, append([]func(*TCP){func(c *TCP) { c.Compress = "auto" }}, change...)...)
}

// sendText sends lines in batches of nearly a mebibyte.
func sendText(t *testing.T, c *TCP, batches int) {
	t.Helper()
	text, _ := webLines(1<<20 - 1<<10)
	id, n := open(t, c), int64(len(text))
	b := wire.Batch{Stream: id, Epoch: 1, End: n, After: wire.TailHash(text), Text: text}
	for at := 0; ; {
		at += bytes.LastIndexByte(text[at:min(at+wire.MaxCutText, len(text))], '\n') + 1
		if at == len(text) {
			break
		}
		b.Cuts = append(b.Cuts, wire.Cut{Text: at, End: int64(at), After: wire.TailHash(text[:at])})
	}
	for range batches {
		if err := c.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFastLink: over the loopback nothing is compressed, even if it was at first.
func TestFastLink(t *testing.T) {
	c := linked(t)
	sendText(t, c, 24)
	if s := c.Compression(); s.Encoding != wire.Plain || s.Changes != 0 || s.Sent.S2+s.Sent.Zstd != 0 || s.Speed == 0 {
		t.Errorf("%+v; want no compression", s)
	}
	c.encoder.Load().encoding = wire.Zstd
	sendText(t, c, 24)
	if s := c.Compression(); s.Encoding != wire.Plain || s.Changes != 1 {
		t.Errorf("%+v; want none after one change", s)
	}
}

// TestSlowLink: over a link of 100 Mbit/s, in a network namespace of its own, lines are compressed
// after two periods of text.
func TestSlowLink(t *testing.T) {
	if os.Getenv("FANIN_TEST_LINK") == "" {
		inNamespace(t)
		return
	}
	for _, step := range []string{"ip link set lo mtu 1500", "tc qdisc add dev lo root tbf rate 100mbit burst 32kb latency 50ms", "ip link set lo up"} {
		args := strings.Fields(step)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%s: %v\n%s", step, err, out)
		}
	}
	c := linked(t)
	open(t, c)
	var clock time.Time
	c.encoder.Load().now = func() time.Time { clock = clock.Add(200 * time.Microsecond); return clock } // 3 ns a byte
	sendText(t, c, 20)
	s := c.Compression()
	t.Logf("%+v", s)
	if s.Encoding != wire.Zstd || s.Changes != 1 || s.Speed > 50e6 {
		t.Errorf("%+v; want zstd after one change, and the speed of the link", s)
	}
	if s.Sent.Plain != s.Sent.Zstd {
		t.Errorf("%+v; want two periods of five batches without compression, and two with zstd", s)
	}
}

// inNamespace runs the test again in namespaces of its own.
func inNamespace(t *testing.T) {
	for _, program := range []string{"ip", "tc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	c.Env = append(os.Environ(), "FANIN_TEST_LINK=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}}
	out, err := c.CombinedOutput()
	switch {
	case err != nil && c.ProcessState == nil, bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("no namespace: %v\n%s", err, out)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
