//go:build linux

package fanin_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is the user of the images: it exists in no file of theirs.
const nobody = 65532

// What the images hold beside the program is a few empty directories.
func TestContainerImages(t *testing.T) {
	for _, name := range []string{"Dockerfile.collector", "Dockerfile.agent"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, final, _ := strings.Cut(string(b), "\nFROM scratch\n")
		if !strings.Contains(final, fmt.Sprintf("\nUSER %d:%d\n", nobody, nobody)) {
			t.Errorf("%s: the image that runs must be FROM scratch and USER %d:%d", name, nobody, nobody)
		}
		if strings.Contains(final, "\nRUN ") {
			t.Errorf("%s: RUN in an image without a shell", name)
		}
	}
}

// emptyRoot makes a root directory with one program and some empty directories,
// as the images have.
func emptyRoot(t *testing.T, program string, dirs ...string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("changing the root directory needs root")
	}
	root := t.TempDir()
	for _, dir := range dirs {
		dir = filepath.Join(root, dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(programDir(t), program))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, program), b, 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

func inRoot(root, program string, args ...string) *exec.Cmd {
	return &exec.Cmd{
		Path: "/" + program, Args: append([]string{program}, args...), Dir: "/",
		Env:         []string{"STATE_DIRECTORY=/var/lib/fanin-agent"},
		SysProcAttr: &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}},
	}
}

func TestContainerRunsInAnEmptyRoot(t *testing.T) {
	keeps := emptyRoot(t, "fanin-collector", "var/log/fanin", "var/lib/fanin")
	follows := emptyRoot(t, "fanin-agent", "var/lib/fanin-agent")

	collector := start(t, inRoot(keeps, "fanin-collector", "--out", "/var/log/fanin/all.log", "--state", "/var/lib/fanin", "--listen", "127.0.0.1:0"))
	address := collector.wait("^listening tcp (.*)")
	log := filepath.Join(keeps, "var/log/fanin/all.log")

	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(conn, "a plain line")
	conn.Close()
	awaitLine(t, log, "127.0.0.1 tcp: a plain line")

	if err := os.WriteFile(filepath.Join(follows, "app.log"), []byte("a followed line\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	agent := start(t, inRoot(follows, "fanin-agent", "--to", address, "--id", "box", "/app.log"))
	awaitLine(t, log, "app: a followed line")
	agent.stop()
	collector.stop()

	var st syscall.Stat_t
	if err := syscall.Stat(log, &st); err != nil || st.Uid != nobody || st.Mode&0o777 != 0o640 {
		t.Errorf("the log belongs to %d with mode %o (%v); want %d and 640", st.Uid, st.Mode&0o777, err, nobody)
	}
}
