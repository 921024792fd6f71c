package tail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fanin/internal/tail/decode"
	"fanin/internal/wire"
)

// pods is a rig over the log files of containers.
type pods struct {
	*rig
	clock int
}

// newPods returns a rig for /*/*/*.log, as the kubelet names them.
func newPods(t testing.TB) *pods {
	p := &pods{rig: newRig(t)}
	p.change = func(t *Tailer) {
		t.Tables = []Table{{Paths: []string{filepath.Join(p.dir, "*/*/*.log")}, Container: true, Decoder: decode.CRI{}}}
	}
	return p
}

// file is a file of one container of one pod.
const podFile = "shop_web-1_0a1b/nginx/"

// write writes a record to a file of the container.
func (p *pods) write(name, stream, tag, text string) *pods {
	p.Helper()
	p.clock++
	if err := os.MkdirAll(p.path(podFile), 0o750); err != nil {
		p.Fatal(err)
	}
	at := time.Unix(1_700_000_000, int64(p.clock)*1000).UTC().Format(time.RFC3339Nano)
	p.append(podFile+name, fmt.Sprintf("%s %s %s %s\n", at, stream, tag, text))
	return p
}

// rotate renames the container's file as the kubelet does.
func (p *pods) rotate(number int) *pods {
	p.Helper()
	p.rename(podFile+"0.log", fmt.Sprintf(podFile+"0.log.20260101-%06d", number))
	return p
}

// TestContainerLines: the records of a container come as lines, with the container as source and
// their own times.
func TestContainerLines(t *testing.T) {
	p := newPods(t)
	p.collector.labels = true
	p.write("0.log", "stdout", "F", "one").write("0.log", "stderr", "P", "two").write("0.log", "stdout", "F", "three")
	p.run()
	p.write("0.log", "stderr", "F", "+two").expect("shop/web-1/nginx:one shop/web-1/nginx:three shop/web-1/nginx:two+two")
	p.write("1.log", "stdout", "F", "restarted").expect("shop/web-1/nginx:one shop/web-1/nginx:three shop/web-1/nginx:two+two " +
		"shop/web-1/nginx:restarted")
}

// TestChainJoins: a line goes on in the next file, in each stream, whether the agent sees the
// rotation or not.
func TestChainJoins(t *testing.T) {
	for _, seen := range []bool{true, false} {
		p := newPods(t)
		p.write("0.log", "stdout", "F", "one").write("0.log", "stdout", "P", "two").write("0.log", "stderr", "P", "three")
		if seen {
			p.run().expect("one")
		}
		p.rotate(1).write("0.log", "stderr", "P", "+three").write("0.log", "stdout", "F", "+two")
		p.write("0.log", "stderr", "F", "+more").write("0.log", "stdout", "P", "four")
		if !seen {
			p.run()
		}
		p.expect("one two+two three+three+more")
		p.rotate(2).write("0.log", "stdout", "P", "+four")
		p.rotate(3).write("0.log", "stdout", "F", "+end").expect("one two+two three+three+more four+four+end")
		p.drained(4).expect("one two+two three+three+more four+four+end")
		for range 2 {
			p.halt()
			p.state = t.TempDir()
			p.run()
			p.drained(4).expect("one two+two three+three+more four+four+end")
		}
	}
}

// TestChainOrder: however many files of a container there are, they are sent in their order, the
// first of them also when the collector is slow with it.
func TestChainOrder(t *testing.T) {
	p := newPods(t)
	var want []string
	for i := range 6 {
		for j := range 3 {
			text := fmt.Sprintf("%d-%d", i, j)
			p.write("0.log", "stdout", "F", text)
			want = append(want, text)
		}
		if i < 5 {
			p.rotate(i)
		}
	}
	refusals := 0
	p.collector.refuse(func(b wire.Batch) error {
		if refusals++; refusals < 5 {
			return errors.New("not yet")
		}
		return nil
	})
	p.run().expect(strings.Join(want, " "))
}

// TestChainKilledAtEachCall: a container's file is rotated inside a line, and the agent is killed
// at each of its calls to the collector, with its state or without, once before the answer and
// once after. Each line is there once, whole, in order.
func TestChainKilledAtEachCall(t *testing.T) {
	for _, state := range []string{"kept", "lost"} {
		for _, stored := range []bool{true, false} {
			t.Run(fmt.Sprintf("state %s, answer lost %v", state, stored), func(t *testing.T) {
				t.Parallel()
				atEachCall(t, 1, func(at int) bool { return chainKilled(t, state, at, stored) })
			})
		}
	}
}

// chainKilled is one run; it returns false if it ended before the kill.
func chainKilled(t *testing.T, state string, at int, stored bool) bool {
	p := newPods(t)
	k := &killed{rig: p.rig, at: at, stored: stored}
	k.arm()
	p.write("0.log", "stdout", "F", "one").write("0.log", "stdout", "P", "two")
	p.run()
	k.settle("one")
	p.rotate(1).write("0.log", "stdout", "F", "+two").write("0.log", "stderr", "P", "three")
	k.settle("one two+two")
	p.rotate(2).write("0.log", "stdout", "F", "four").write("0.log", "stderr", "F", "+three")
	k.settle("one two+two four three+three")
	if !k.isDead() {
		p.await(func() bool { return k.isDead() || p.allSent(3) }) // with the calls that skip the ends
	}
	if !k.end() {
		return false
	}
	if state != "kept" {
		p.state = t.TempDir()
	}
	p.collector.fail, p.collector.failing = nil, nil
	p.run().expect("one two+two four three+three")
	p.write("0.log", "stdout", "F", "five").expect("one two+two four three+three five")
	p.drained(3).expect("one two+two four three+three five")
	p.halt()
	return true
}

// TestChainEnds: what nothing continues is divided after a while, or complete when its file is
// gone; and a file's end that the next file does not continue is sent, too.
func TestChainEnds(t *testing.T) {
	p := newPods(t)
	p.write("0.log", "stdout", "F", "one").write("0.log", "stdout", "P", "two").run().expect("one")
	os.RemoveAll(p.path("shop_web-1_0a1b"))
	p.expect("one two")
	p.write("0.log", "stdout", "P", "three").rotate(1)
	p.expect("one two three" + wire.SplitMark)
	p.write("0.log", "stdout", "F", "+three").write("0.log", "stderr", "P", "four").rotate(2)
	p.write("0.log", "stdout", "F", "five") // in the other stream; the open line stays open
	divided := "one two three" + wire.SplitMark + " " + wire.SplitGoesOn + "+three"
	p.expect(divided + " five four" + wire.SplitMark)
}

// TestChainCompressed: the kubelet compresses a rotated file at the next rotation. Its archive and
// the file that it grows in are not followed, and nothing is reported of them.
func TestChainCompressed(t *testing.T) {
	p := newPods(t)
	p.run()
	var want []string
	for i := range 5 {
		text := fmt.Sprintf("line-%d", i)
		p.write("0.log", "stdout", "F", text)
		want = append(want, text)
		p.expect(strings.Join(want, " "))
		if i > 0 {
			old := fmt.Sprintf(podFile+"0.log.20260101-%06d", i-1)
			p.append(old+".tmp", "\x1f\x8b").rename(old+".tmp", old+".gz")
			os.Remove(p.path(old))
		}
		p.rotate(i)
	}
	p.polled(50).expect(strings.Join(want, " "))
	if c := p.tailer.Counts(); c["unsure_files"]+c["unfit_files"]+c["missing_files"] > 0 {
		t.Errorf("counts: %v", c)
	}
}

// TestShortLived: pods that live for a moment are complete: their directories are created and
// removed while others are, and all come as the same few files.
func TestShortLived(t *testing.T) {
	p := newPods(t)
	p.run()
	var want []string
	for i := range 30 {
		dir := fmt.Sprintf("ns_pod-%d_uid/c", i)
		if err := os.MkdirAll(p.path(dir), 0o750); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("pod-%d", i)
		p.append(dir+"/0.log", "2026-01-01T00:00:00Z stdout F "+text+"\n2026-01-01T00:00:00Z stdout P "+text+"-end\n")
		want = append(want, text, text+"-end")
		p.await(func() bool { // its file is open
			return slices.ContainsFunc(p.tailer.Status(), func(s FileStatus) bool { return s.Path == p.path(dir+"/0.log") })
		})
		os.RemoveAll(p.path(fmt.Sprintf("ns_pod-%d_uid", i)))
	}
	p.expectSet(strings.Join(want, " "))
}

// TestDockerFiles: files that Docker's own json-file driver (28.5.2) has written, with attributes and
// without, come as the lines that it was given: in testdata/docker. One of them was rotated inside a
// line of three parts.
func TestDockerFiles(t *testing.T) {
	r := newRig(t)
	r.collector.labels = true
	r.change = func(t *Tailer) {
		t.Tables = []Table{{Paths: []string{r.path("*/*-json.log")}, Container: true, Decoder: decode.Docker{}}}
	}
	id := strings.Repeat("ab", 32)
	for from, to := range map[string]string{
		"plain-json.log": id + "-json.log", "plain-json.log.1": id + "-json.log.1"} {
		b, err := os.ReadFile(filepath.Join("testdata", "docker", from))
		if err == nil {
			err = errors.Join(os.MkdirAll(r.path(id), 0o750), os.WriteFile(r.path(id+"/"+to), b, 0o640))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r.append(id+"/config.v2.json", `{"Config":{"Image":"nginx"},"Name":"/web"}`)
	long := strings.Repeat("0123456789abcdef", 2600)
	var want []string
	for _, line := range []string{"one", "two \"quoted\" \\ <tag> & \t\u2028 \x00\x1b[31m \ufffd end", "", "between", long, "behind \U0001f600"} {
		want = append(want, "web:"+line)
	}
	r.run().expect(strings.Join(want, " "))
	r.drained(2).expect(strings.Join(want, " "))
}

// TestChainMissedByALook: a look at a start may miss files that are renamed just then. What comes behind
// them is not begun before a look has found them, and a search for missing files does not begin them.
func TestChainMissedByALook(t *testing.T) {
	p := newPods(t)
	p.write("0.log", "stdout", "F", "one").run().expect("one").rename(podFile+"0.log", podFile+"0.log.20260101-000001")
	p.write("0.log", "stdout", "F", "two").expect("one two").rename(podFile+"0.log", podFile+"0.log.20260101-000002")
	p.write("0.log", "stdout", "F", "three").expect("one two three").halt()
	tl := &Tailer{Settings: Settings{State: p.state, Out: p.collector}}
	p.change(tl)
	tl.defaults()
	tl.positions, _, _ = openPositions(nil, p.state, slog.New(slog.DiscardHandler))
	tl.Welcome(p.collector.welcome(), wire.MaxText)
	ctx, stop := context.WithCancel(t.Context())
	var seen []candidate
	for _, name := range []string{"0.log.20260101-000001", "0.log"} {
		fi, err := os.Stat(p.path(podFile + name))
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, candidate{path: p.path(podFile + name), table: &tl.Tables[0], key: keyOf(fi), info: fi})
	}
	tl.followNew(ctx, seen)
	tl.seekMissing(ctx)
	tl.mu.Lock()
	if n := len(tl.followers); n != 1 {
		t.Errorf("%d files are followed", n)
	}
	tl.mu.Unlock()
	stop()
	tl.running.Wait()
}

// TestDockerShiftedWhileRefused: Docker renames all files of a container at each rotation, also those
// that wait for the one before. They are sent in their order, with the lines that rotation divides.
func TestDockerShiftedWhileRefused(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) {
		t.Tables = []Table{{Paths: []string{r.path("*-json.log")}, Container: true, Decoder: decode.Docker{}}}
	}
	write := func(text string) {
		r.append("c-json.log", fmt.Sprintf("{\"log\":%q,\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00Z\"}\n", text))
	}
	write("0\n")
	r.run().expect("0")
	r.collector.refuse(r.collector.later(1<<30, ""))
	want := "0"
	for i := 1; i < 5; i++ {
		write(fmt.Sprintf("%d-", i))
		r.shift("c-json.log")
		write(fmt.Sprintf("%d\n", i))
		write(fmt.Sprintf("%d'\n", i))
		want += fmt.Sprintf(" %d-%d %d'", i, i, i)
		r.await(func() bool { return len(r.tailer.Status()) == i+1 }).polled(8)
	}
	r.collector.refuse(nil)
	r.expect(want).drained(5).expect(want)
}
