package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"fanin/e2e/rig"
)

// peers are Debian's rsyslog and syslog-ng, unpacked side by side: installed they
// would exclude each other, and take over the machine's own logging.
type peers struct {
	root string
	libs string // where libraries and modules are
	env  []string
}

func peersDir() string { return filepath.Join(rig.Root(), "build", "peers") }

// unpack has the script download and unpack them below root, once.
func unpack(root string) (*peers, error) {
	p := &peers{root: root}
	if err := command(rig.Root(), filepath.Join("scripts", "peers.sh")); err != nil {
		return nil, err
	}
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[runtime.GOARCH]
	p.libs = filepath.Join(root, "usr/lib", triplet)
	p.env = []string{"LD_LIBRARY_PATH=" + p.libs + ":" + filepath.Join(root, "usr/lib/syslog-ng") + ":" + filepath.Join(root, "lib", triplet)}
	return p, nil
}

func command(dir, name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func (p *peers) rsyslog(dir, name string) []string {
	return []string{filepath.Join(p.root, "usr/sbin/rsyslogd"), "-n", "-x", "-M", filepath.Join(p.libs, "rsyslog"),
		"-f", filepath.Join(dir, name+".conf"), "-i", filepath.Join(dir, name+".pid")}
}

func (p *peers) syslogNG(dir string) []string {
	return []string{filepath.Join(p.root, "usr/sbin/syslog-ng"), "-F", "--no-caps", "--module-path", filepath.Join(p.root, "usr/lib/syslog-ng/3.38"),
		"-f", filepath.Join(dir, "collector.conf"), "-R", filepath.Join(dir, "persist"), "-c", filepath.Join(dir, "control"),
		"-p", filepath.Join(dir, "collector.pid")}
}
