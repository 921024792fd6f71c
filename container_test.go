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

// TestSidecar: an agent as a sidecar runs it, with a read-only root, as a user that no file knows,
// with one tmpfs for its state, sends each line once, although it is killed and the tmpfs is lost.
func TestSidecar(t *testing.T) {
	keeps := emptyRoot(t, "fanin-collector", "var/log/fanin", "var/lib/fanin")
	root := emptyRoot(t, "fanin-agent", "var/lib/fanin-agent", "var/log/app", "etc/fanin")
	if err := exec.Command("unshare", "--mount", "true").Run(); err != nil {
		t.Skipf("mounting is not allowed: %v", err)
	}
	collector := start(t, inRoot(keeps, "fanin-collector", "--out", "/var/log/fanin/all.log", "--state", "/var/lib/fanin", "--listen", "127.0.0.1:0"))
	address := collector.wait("^listening tcp (.*)")
	config := "[agent]\nid = \"${POD_NAME}\"\nto = [\"${FANIN_TO:-tcp://nowhere:1}\"]\n[[agent.file]]\npaths = [\"/var/log/app/*.log\"]\n"
	if err := os.WriteFile(filepath.Join(root, "etc/fanin/agent.toml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	const inside = `set -e
mount --bind "$0" "$0"
mount -t tmpfs -o size=16m,mode=0700,uid=65532,gid=65532 tmpfs "$0/var/lib/fanin-agent"
mount -o remount,bind,ro "$0"
exec chroot --userspec=65532:65532 "$0" /fanin-agent --config /etc/fanin/agent.toml`
	logged, err := os.Create(filepath.Join(root, "var/log/app/app.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logged.Close()
	const rounds, lines = 5, 200
	for round := range rounds {
		agent := exec.Command("unshare", "--mount", "--propagation=private", "sh", "-c", inside, root)
		agent.Env = append(os.Environ(), "POD_NAME=app-1", "FANIN_TO=tcp://"+address, "STATE_DIRECTORY=/var/lib/fanin-agent")
		running := start(t, agent)
		for n := range lines {
			fmt.Fprintf(logged, "line %d\n", round*lines+n)
		}
		if round < rounds-1 {
			awaitLine(t, filepath.Join(keeps, "var/log/fanin/all.log"), fmt.Sprintf("line %d\n", round*lines))
			agent.Process.Kill()
			<-running.exited
			continue
		}
		awaitLine(t, filepath.Join(keeps, "var/log/fanin/all.log"), fmt.Sprintf("line %d\n", rounds*lines-1))
		running.stop()
	}
	collector.stop()
	b, err := os.ReadFile(filepath.Join(keeps, "var/log/fanin/all.log"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		if _, text, ok := strings.Cut(line, " app: "); ok {
			if want := fmt.Sprintf("line %d\n", n); text != want {
				t.Fatalf("line %d is %q", n, line)
			}
			n++
		}
	}
	if n != rounds*lines {
		t.Errorf("%d lines, want %d", n, rounds*lines)
	}
}
