package rig

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
)

// errNoRsyslog says what is missing; make setup brings it where apt is.
var errNoRsyslog = errors.New("there is no rsyslog with its modules for ZeroMQ and Redis: run make setup")

// Rsyslog is how Debian's rsyslog is run with a configuration, in the foreground:
// as it is installed, else as scripts/peers.sh unpacked it. It fails if there is
// none, or if it lacks its modules for ZeroMQ and Redis.
func Rsyslog(config, pidFile string) (args, env []string, err error) {
	for _, root := range []string{"/", filepath.Join(Root(), "build", "peers")} {
		program := filepath.Join(root, "usr/sbin/rsyslogd")
		_, err := os.Stat(program)
		czmq, _ := filepath.Glob(filepath.Join(root, "usr/lib/*/rsyslog/omczmq.so"))
		redis, _ := filepath.Glob(filepath.Join(root, "usr/lib/*/rsyslog/omhiredis.so"))
		if err != nil || len(czmq) == 0 || len(redis) == 0 {
			continue
		}
		dir := filepath.Dir(redis[0])
		return []string{program, "-n", "-M", dir, "-f", config, "-i", pidFile},
			[]string{"LD_LIBRARY_PATH=" + filepath.Dir(dir)}, nil
	}
	return nil, nil, errNoRsyslog
}

// NodeModules is where npm's packages for tests are, as make setup installed them.
func NodeModules() (dir string, ok bool) {
	if _, err := exec.LookPath("node"); err != nil {
		return "", false
	}
	dir = filepath.Join(Root(), "build", "peers", "npm", "node_modules")
	_, err := os.Stat(filepath.Join(dir, "zeromq", "package.json"))
	return dir, err == nil
}
