package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/e2e/check"
	"fanin/e2e/load"
	"fanin/e2e/rig"
	"fanin/sink"
)

// smallDisk mounts a file system of a few mebibytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
	return dir
}

// TestDiskFullAndFreed: the disk fills up and is freed, again and again. Nothing
// is acknowledged that is not kept, and everything goes on by itself.
func TestDiskFullAndFreed(t *testing.T) {
	disk := smallDisk(t, "48M")
	dir := t.TempDir()
	c, err := rig.NewCollector(programs.Collector, dir, disk, "sync = \"none\"\nrotate_size = \"4MiB\"\ncompress = \"none\"\nkeep_bytes = \"off\"\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	w := &load.Writer{Dir: dir, Name: "app.log", Burst: 50, Pause: time.Millisecond}
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- w.Run(stop) }() // ends by stop
	a := rig.NewAgent(programs.Agent, dir, c.Addr, "a", filepath.Join(dir, "app.log"))
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	defer a.Kill()
	tail, err := check.StartTail(c.Log)
	if err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "ballast")
	for i := range 4 {
		os.WriteFile(ballast, make([]byte, 64<<20), 0o600) // as much of it as there is room for
		var full sink.Status
		waitFor(t, "the disk to be full", func() bool {
			full, err = c.Status()
			return err == nil && !full.Healthy && strings.Contains(full.Trouble, "no room")
		})
		if i == 2 { // and it is killed just then
			c.Kill()
			os.Remove(ballast)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			full.Lines = 0 // it counts from its start
		}
		os.Remove(ballast)
		waitFor(t, "it to go on", func() bool {
			st, err := c.Status()
			return err == nil && st.Healthy && st.Lines > full.Lines
		})
		makeRoom(t, c, dir)
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); a.Drained(1, time.Second) != nil; makeRoom(t, c, dir) {
		if time.Now().After(end) {
			t.Fatal(a.Drained(1, time.Second))
		}
	}
	a.Stop()
	c.Stop()
	if _, doubled, first := tail.End(); doubled > 0 {
		t.Errorf("tail -F printed %d lines twice: %s", doubled, first)
	}
	makeRoom(t, c, dir)
	move(t, c.Log, filepath.Join(dir, "all-z.away"))
	checkFiles(t, filepath.Join(dir, "all-*.away"), w.Written())
}

// makeRoom moves what was rotated to another disk, as an operator would.
func makeRoom(t *testing.T, c *rig.Collector, to string) {
	t.Helper()
	for _, path := range closed(t, c) {
		move(t, path, filepath.Join(to, filepath.Base(path)+".away"))
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("mv", from, to).CombinedOutput(); err != nil {
		t.Fatalf("mv: %v: %s", err, out)
	}
}

// closed lists the rotated files that are there.
func closed(t *testing.T, c *rig.Collector) (paths []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(filepath.Dir(c.Log), "all-*.log"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// checkFiles checks files in the order of their names.
func checkFiles(t *testing.T, pattern string, written map[int]int) {
	t.Helper()
	paths, _ := filepath.Glob(pattern)
	r, err := check.Files(paths, written)
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() || r.Lines == 0 {
		t.Fatalf("%s\n%s", r, strings.Join(r.First, "\n"))
	}
	t.Log(r)
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestDatagramFlood: what was sent is written or counted as dropped, exactly.
func TestDatagramFlood(t *testing.T) {
	dir := t.TempDir()
	c, err := rig.NewCollector(programs.Collector, dir, dir, "sync = \"none\"\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	conn, err := net.Dial("udp", c.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const sent = 200000
	var b []byte
	for i := range sent {
		b = load.Append(b[:0], 1, i)
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	var written, dropped int
	waitFor(t, "written and dropped to be all that was sent", func() bool {
		var text string
		if c.Ask("GET", "/metrics", &text) != nil {
			return false
		}
		written, dropped = metric(text, `fanin_written_lines_total{input="udp"}`), metric(text, `fanin_udp_dropped_datagrams_total{reason="kernel"}`)
		return written+dropped == sent
	})
	c.Stop()
	r, err := check.Log(c.Log, c.State, map[int]int{1: sent})
	if err != nil {
		t.Fatal(err)
	}
	if r.Lines != written || r.Lost != dropped || r.Doubled+r.Torn+r.Reordered+r.Phantom > 0 {
		t.Fatalf("counted %d written and %d dropped; the log says %s", written, dropped, r)
	}
	t.Logf("%d sent, %d written, %d dropped by the kernel", sent, written, dropped)
}

// metric reads one number of a metrics text.
func metric(text, name string) (n int) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			var f float64
			fmt.Sscanf(rest, "%g", &f)
			n = int(f)
		}
	}
	return n
}
