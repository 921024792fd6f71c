package spool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/internal/disk/disktest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// checkTaken: the collector has each line that was taken, and each once, in order; of each
// life, lines that were not taken may be missing at its end.
func checkTaken(t *testing.T, m *appendertest.Memory, taken map[string]bool) {
	t.Helper()
	lastLife, lastLine := -1, -1
	for line := range strings.Lines(text(m)) {
		var life, n int
		if _, err := fmt.Sscanf(line, "life %d line %d\n", &life, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if life < lastLife || life == lastLife && n != lastLine+1 || life > lastLife && n != 0 {
			t.Fatalf("life %d line %d comes behind life %d line %d", life, n, lastLife, lastLine)
		}
		lastLife, lastLine = life, n
		delete(taken, line)
	}
	for line := range taken {
		t.Fatalf("%d lines are missing, such as %q", len(taken), line)
	}
}

// live appends lines until an access to the disk fails, and returns those that were taken.
func live(s *Spool, life, lines int, taken map[string]bool) {
	var batch []string
	for n := range lines {
		line := fmt.Sprintf("life %d line %d\n", life, n)
		if s.Append(context.Background(), []byte(line), "") != nil {
			return
		}
		if batch = append(batch, line); n%7 > 0 {
			continue
		}
		soon, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		err := s.Sync(soon)
		cancel()
		if err != nil {
			return
		}
		for _, line := range batch {
			taken[line] = true
		}
		batch = nil
	}
}

// visit stops the disk at its n-th access, while lines are taken and sent, and lets a power
// cut or a kill follow. It reports that all was over before.
func visit(t *testing.T, n int64, seed uint64) (ended bool) {
	d := disktest.New(t)
	defer d.Remove()
	m := collector()
	taken := make(map[string]bool)
	settings := quick(filepath.Join(d.Dir, "spool"))
	settings.Disk, settings.SegmentBytes, settings.BatchBytes = d.Under, 1<<10, 300
	for life := range 3 {
		if life < 2 {
			d.StopAt((n+1)/2+int64(life)*(n%5), int(seed%97))
		}
		s, err := Open(settings)
		if err == nil {
			sending, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { // ends by stop
				defer close(done)
				s.Run(sending, appendertest.NewOrdered(m))
			}()
			s.meet(m)
			live(s, life, 60, taken)
			soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			s.Close(soon)
			cancel()
			ended = ended || life == 0 && !d.Stopped()
			stop()
			<-done
		}
		if life == 2 && err != nil {
			t.Fatal(err)
		}
		if d.Stop(); seed%3 == 0 {
			d.Kill()
		} else {
			d.Cut(seed)
		}
	}
	final := open(t, settings)
	drain(t, final, m)
	checkTaken(t, m, taken)
	checkClean(t, final, m)
	return ended
}

// TestPowerCut: whatever a power cut leaves of what was not synced, at each access to the
// disk in turn, the lines that were taken come once and in order.
func TestPowerCut(t *testing.T) {
	disktest.EachAccess(t, 4, visit)
}

// TestMain is the process that TestKill kills, too.
func TestMain(m *testing.M) {
	if dir := os.Getenv("FANIN_SPOOL_CHILD"); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

// child takes lines until it is killed, and prints the number of the last one after each sync.
func child(dir string) {
	settings := quick(dir)
	settings.SegmentBytes, settings.SyncEvery = 16<<10, 0
	s, err := Open(settings)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for n := 0; ; n++ {
		s.Append(context.Background(), fmt.Appendf(nil, "life %s line %d\n", os.Getenv("FANIN_SPOOL_LIFE"), n), "")
		if n%20 == 0 {
			if err := s.Sync(context.Background()); err != nil {
				os.Exit(1)
			}
			fmt.Println(n)
		}
	}
}

// TestKill: kill -9 of the process that writes, and stops of the one that sends, lose nothing
// that was taken, and double nothing.
func TestKill(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 8
	}
	dir := disktest.TempDir(t)
	m := collector()
	taken := make(map[string]bool)
	for life := range rounds {
		last := runAndKill(t, dir, life, 1+rand.IntN(200))
		for n := range last + 1 {
			taken[fmt.Sprintf("life %d line %d\n", life, n)] = true
		}
		if life%2 == 0 {
			continue
		}
		settings := quick(dir)
		settings.BatchBytes = 2 << 10
		s, err := Open(settings)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(t.Context()); err != nil { // so Run ends, also if there is less to send than it may
			t.Fatal(err)
		}
		s.meet(m)
		sending, stop := context.WithCancel(t.Context())
		left := rand.IntN(30)
		m.Before = func(ctx context.Context, b wire.Batch) error {
			if left--; left < 0 {
				stop()
			}
			return ctx.Err()
		}
		if err := s.Run(sending, appendertest.NewOrdered(m)); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		stop()
		m.Before = nil
	}
	drain(t, open(t, quick(dir)), m)
	checkTaken(t, m, taken)
}

// runAndKill runs a child until it has synced so many times, and kills it. It returns the
// last line that the child reported as synced.
func runAndKill(t *testing.T, dir string, life, syncs int) (last int) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "FANIN_SPOOL_CHILD="+dir, fmt.Sprint("FANIN_SPOOL_LIFE=", life))
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	lines := bufio.NewScanner(out)
	last = -1
	for lines.Scan() {
		if _, err := fmt.Sscan(lines.Text(), &last); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		if syncs--; syncs == 0 {
			c.Process.Kill() // what it printed before is still read
		}
	}
	return last
}
