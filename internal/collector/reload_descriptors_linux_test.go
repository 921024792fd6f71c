package collector

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReloadWithoutDescriptors: however few descriptors are left, a reload opens all of its listeners, or none
// and goes on with the old ones: it does not find out when those serve already, and end.
func TestReloadWithoutDescriptors(t *testing.T) {
	at, dir := free(t, 3), t.TempDir()
	tcp := listenTable("tcp", at[0], "")
	more := listenTable("udp", at[1], "source = \"datagrams\"") + listenTable("gelf", at[2], "network = \"udp\"") +
		fmt.Sprintf("[[collector.unix]]\npath = %q\n", filepath.Join(dir, "datagrams")) +
		fmt.Sprintf("[[collector.unix]]\npath = %q\ntype = \"stream\"\n", filepath.Join(dir, "lines"))
	r := newReloading(t, tcp)
	taken, refused := 0, 0
	for i := range 30 {
		r.write(t, tcp+more)
		restore := leaveDescriptors(t, i)
		_, err := r.reload(t.Context())
		restore()
		if err != nil {
			refused++
			continue
		}
		taken++
		nc, err := net.Dial("udp", at[1])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(nc, "line ", i)
		nc.Close()
		r.has(t, fmt.Sprint(" datagrams: line ", i))
		r.takes(t, tcp, "removed")
	}
	if taken == 0 || refused == 0 {
		t.Errorf("%d reloads were taken, and %d refused; want some of both", taken, refused)
	}
}

// leaveDescriptors allows this process a few more descriptors than it has, until restore is called. The kernel's
// limit is one of their numbers, of which some may be free between others.
func leaveDescriptors(t *testing.T, more int) (restore func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	used := make(map[string]bool)
	for _, x := range open {
		_, err := os.Readlink("/proc/self/fd/" + x.Name())
		used[x.Name()] = err == nil // else it was the one of this directory
	}
	low := old
	for low.Cur = 0; more > 0 || used[strconv.FormatUint(low.Cur, 10)]; low.Cur++ {
		if !used[strconv.FormatUint(low.Cur, 10)] {
			more--
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	return func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &old) }
}
