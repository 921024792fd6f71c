package rig

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// errNoRsyslog says what is missing; make setup brings it where apt is.
var errNoRsyslog = errors.New("there is no rsyslog with its modules for ZeroMQ, Redis, TLS and RELP: run make setup")

// unpacked is where scripts/peers.sh puts what is not installed.
func unpacked() string { return filepath.Join(Root(), "build", "peers") }

// Rsyslog is how Debian's rsyslog is run with a configuration, in the foreground:
// as it is installed, else as scripts/peers.sh unpacked it. It fails if there is
// none, or if it lacks one of its modules for ZeroMQ, Redis, TLS and RELP.
func Rsyslog(config, pidFile string) (args, env []string, err error) {
	program, modules, env, err := rsyslogd()
	return []string{program, "-n", "-M", modules, "-f", config, "-i", pidFile}, env, err
}

func rsyslogd() (program, modules string, env []string, err error) {
	for _, root := range []string{"/", unpacked()} {
		program := filepath.Join(root, "usr/sbin/rsyslogd")
		if _, err := os.Stat(program); err != nil {
			continue
		}
		dirs, _ := filepath.Glob(filepath.Join(root, "usr/lib/*/rsyslog"))
		for _, dir := range dirs {
			if has(dir, "omczmq.so", "omhiredis.so", "lmnsd_gtls.so", "omrelp.so") {
				return program, dir, []string{"LD_LIBRARY_PATH=" + filepath.Dir(dir)}, nil
			}
		}
	}
	return "", "", nil, errNoRsyslog
}

// has reports whether a directory has all these files.
func has(dir string, names ...string) bool {
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// Peers writes scripts into a directory, which come before all else on the path. Each has
// the name of a foreign program and runs it: rsyslogd in the foreground, and what is not
// installed as scripts/peers.sh unpacked it.
func Peers(dir string) error {
	if program, modules, env, err := rsyslogd(); err == nil {
		if err := shim(dir, program, env, "-n", "-M", modules); err != nil {
			return err
		}
	}
	if program, ok := Docker(); ok {
		if err := shim(dir, program, nil); err != nil {
			return err
		}
	}
	root := unpacked()
	libs, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-*"))
	more, _ := filepath.Glob(filepath.Join(root, "lib/*-linux-*"))
	libs = append(append(libs, more...), filepath.Join(root, "usr/lib/syslog-ng"))
	env := []string{"LD_LIBRARY_PATH=" + strings.Join(libs, ":"), "SYSLOGNG_PREFIX=" + filepath.Join(root, "usr")}
	for _, program := range []string{"usr/sbin/nginx", "usr/sbin/haproxy", "usr/sbin/syslog-ng", "usr/bin/loggen"} {
		_, err := exec.LookPath(filepath.Join("/", program))
		if err == nil || !has(root, program) {
			continue
		}
		if err := shim(dir, filepath.Join(root, program), env); err != nil {
			return err
		}
	}
	return nil
}

// Docker is a program that logs as docker run does, with Docker's own drivers: e2e/docker,
// which make setup builds.
func Docker() (program string, ok bool) {
	program = filepath.Join(unpacked(), "docker")
	_, err := os.Stat(program)
	return program, err == nil
}

// shim writes a script that runs a program with these arguments and its own.
func shim(dir, program string, env []string, args ...string) error {
	text := "#!/bin/sh\nexec env"
	for _, word := range append(append(env, program), args...) {
		text += fmt.Sprintf(" '%s'", word)
	}
	return os.WriteFile(filepath.Join(dir, filepath.Base(program)), []byte(text+" \"$@\"\n"), 0o755)
}

// NodeModules is where npm's packages for tests are, as make setup installed them. ok: all
// of these are there.
func NodeModules(packages ...string) (dir string, ok bool) {
	dir = filepath.Join(unpacked(), "npm", "node_modules")
	if _, err := exec.LookPath("node"); err != nil {
		return dir, false
	}
	return dir, has(dir, packages...)
}

// Jars is a class path of Debian's jars: those that are installed, or else those that
// scripts/peers.sh unpacked. ok: there are all of them, and a Java that runs them.
func Jars(names ...string) (classPath string, ok bool) {
	if _, err := exec.LookPath("java"); err != nil {
		return "", false
	}
	for _, root := range []string{"/", unpacked()} {
		if dir := filepath.Join(root, "usr/share/java"); has(dir, names...) {
			return dir + "/" + strings.Join(names, ":"+dir+"/"), true
		}
	}
	return "", false
}
