package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"fanin/deploy/build"
)

// isolated is set to a directory where this test binary is what keeps a host's namespaces.
const isolated = "FANIN_TEST_ISOLATED"

// isolate makes the namespaces that it was started in those of a host with the given root: with
// /proc, /dev and a loopback interface, and no other network. It ends with its standard input.
func isolate(root string) {
	fail := func(what string, err error) {
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
			os.Exit(1)
		}
	}
	fail("private mounts", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	fail("mount /proc", unix.Mount("proc", filepath.Join(root, "proc"), "proc", 0, ""))
	fail("mount /dev", unix.Mount("/dev", filepath.Join(root, "dev"), "", unix.MS_BIND|unix.MS_REC, ""))
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	fail("socket", err)
	lo, err := unix.NewIfreq("lo")
	fail("lo", err)
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	fail("lo", unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo))
	io.WriteString(os.Stdout, "ready\n")
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// host is a small Debian in a directory, with a network of its own. Its service manager is a script
// that notes what it is asked for.
type host struct {
	*testing.T
	root string
	pid  int // of the process that has its namespaces
}

// newHost unpacks the root that make setup has made.
func newHost(t *testing.T) *host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	programs, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	packed := filepath.Join(programs, "build", "peers", "root.tar")
	if _, err := os.Stat(packed); err != nil {
		t.Skip("there is no build/peers/root.tar: make setup")
	}
	h := &host{T: t, root: t.TempDir()}
	if out, err := exec.Command("tar", "-xf", packed, "--numeric-owner", "--exclude=./dev/*", "-C", h.root).CombinedOutput(); err != nil {
		t.Fatalf("unpack: %v\n%s", err, out)
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), isolated+"="+h.root)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	var errs bytes.Buffer
	c.Stderr = &errs
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Skip("no namespaces: ", err)
	}
	t.Cleanup(func() {
		in.Close()
		c.Wait()
	})
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Skipf("no host of its own: %s", errs.Bytes())
	}
	h.pid = c.Process.Pid
	h.write("/usr/bin/systemctl", "#!/bin/sh\necho \"${0##*/} $*\" >>/calls\n", 0o755)
	h.write("/usr/bin/deb-systemd-invoke", "#!/bin/sh\necho \"${0##*/} $*\" >>/calls\n", 0o755)
	if err := os.MkdirAll(filepath.Join(h.root, "run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	return h
}

// inside is a command in the host's namespaces, but with the root of this machine.
func (h *host) inside(args ...string) *exec.Cmd {
	c := exec.Command("nsenter", append([]string{"--target", strconv.Itoa(h.pid), "--mount", "--net", "--"}, args...)...)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "HOME=/root"}
	return c
}

// run runs a command on the host and returns what it prints, with its complaints behind.
func (h *host) run(args ...string) string {
	h.Helper()
	out, errs := h.outputs(args...)
	return out + errs
}

// outputs runs a command on the host and returns what it prints, and its complaints.
func (h *host) outputs(args ...string) (string, string) {
	h.Helper()
	c := h.inside(append([]string{"chroot", h.root}, args...)...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		h.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, out.Bytes(), errs.Bytes())
	}
	return out.String(), errs.String()
}

// start starts a service's program as its unit does: as the user fanin, with group adm.
func (h *host) start(name, config string) *exec.Cmd {
	h.Helper()
	c := h.inside("chroot", "--userspec=fanin:adm", "--groups=adm", h.root, "/usr/bin/"+name, "--config", config)
	c.Env = append(c.Env, "STATE_DIRECTORY=/var/lib/"+name)
	var errs bytes.Buffer
	c.Stderr = &errs
	if err := c.Start(); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		if c.ProcessState == nil {
			c.Process.Kill()
			c.Wait()
		}
		if h.Failed() {
			h.Logf("%s:\n%s", name, errs.String())
		}
	})
	return c
}

// stop ends a program as a service manager does.
func (h *host) stop(c *exec.Cmd) {
	h.Helper()
	c.Process.Signal(syscall.SIGTERM)
	if err := c.Wait(); err != nil {
		h.Errorf("%s ended with %v", c.Args[len(c.Args)-3], err)
	}
}

// read is the text of a file of the host; none is empty.
func (h *host) read(path string) string {
	b, _ := os.ReadFile(filepath.Join(h.root, path))
	return string(b)
}

func (h *host) exists(path string) bool {
	_, err := os.Lstat(filepath.Join(h.root, path))
	return err == nil
}

// write replaces a file of the host.
func (h *host) write(path, text string, mode os.FileMode) {
	h.Helper()
	path = filepath.Join(h.root, path)
	if err := os.WriteFile(path+".new", []byte(text), mode); err != nil {
		h.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		h.Fatal(err)
	}
}

// calls returns what the service manager was asked for since the last time.
func (h *host) calls() string {
	text := h.read("/calls")
	os.Remove(filepath.Join(h.root, "calls"))
	return text
}

// listeners are the addresses at which programs of the host can be reached, as /proc writes them.
func (h *host) listeners() []string {
	h.Helper()
	var list []string
	for _, kind := range []string{"tcp", "tcp6", "udp", "udp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", h.pid, kind))
		if err != nil {
			continue // no IPv6
		}
		for _, line := range strings.Split(string(b), "\n")[1:] {
			// Sockets of tcp that listen have state 0A; those of udp have no peer.
			if f := strings.Fields(line); len(f) > 3 && (f[3] == "0A" || strings.HasPrefix(kind, "udp") && strings.HasSuffix(f[2], ":0000")) {
				list = append(list, kind+" "+f[1])
			}
		}
	}
	return list
}
