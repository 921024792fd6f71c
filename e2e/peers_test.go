package e2e

import (
	"fmt"
	"os"
	"os/exec"

	"github.com/rogpeppe/go-internal/testscript"

	"fanin/e2e/rig"
)

// python is Debian's, which has the libraries that make setup installs.
const python = "/usr/bin/python3"

// have says whether this machine has a foreign program or library. All but node
// come with make setup.
func have(name string) (bool, error) {
	switch name {
	case "redis":
		_, server := exec.LookPath("redis-server")
		_, client := exec.LookPath("redis-cli")
		return server == nil && client == nil, nil
	case "pyredis":
		return exec.Command(python, "-c", "import redis").Run() == nil, nil
	case "pyzmq":
		return exec.Command(python, "-c", "import zmq").Run() == nil, nil
	case "msgpack": // a Python that can be a worker
		return exec.Command(python, "-c", "import msgpack").Run() == nil, nil
	case "nodezmq":
		_, ok := rig.NodeModules("zeromq")
		return ok, nil
	case "winston":
		_, ok := rig.NodeModules("winston", "winston-syslog")
		return ok, nil
	case "pino":
		_, ok := rig.NodeModules("pino", "pino-syslog", "pino-socket")
		return ok, nil
	case "syslog-client":
		_, ok := rig.NodeModules("syslog-client")
		return ok, nil
	case "gelf-pro":
		_, ok := rig.NodeModules("gelf-pro")
		return ok, nil
	case "graypy":
		return exec.Command(python, "-c", "import graypy").Run() == nil, nil
	case "docker":
		_, ok := rig.Docker()
		return ok, nil
	case "logback":
		_, ok := rig.Jars(logback...)
		return ok, nil
	case "journal": // the means to write one and to read it
		_, werr := os.Stat("/lib/systemd/systemd-journal-remote")
		_, rerr := exec.LookPath("journalctl")
		return werr == nil && rerr == nil, nil
	case "rsyslog": // with its modules for ZeroMQ, Redis, TLS and RELP
		_, _, err := rig.Rsyslog("", "")
		return err == nil, nil
	}
	return false, fmt.Errorf("no such condition: %s", name)
}

// logback is what a Java program needs to log with it.
var logback = []string{"logback-classic.jar", "logback-core.jar", "slf4j-api.jar"}

// foreign lets a script name what is not on the path: $PYTHON; $NODE_PATH, where node
// looks for packages; and $CLASSPATH, where java does.
func foreign(env *testscript.Env) {
	env.Setenv("PYTHON", python)
	jars, _ := rig.Jars(logback...)
	env.Setenv("CLASSPATH", ".:"+jars)
	dir, _ := rig.NodeModules()
	env.Setenv("NODE_PATH", dir)
}

// rsyslog writes a script that runs rsyslog with a configuration: rsyslog CONFIG
// SCRIPT. Where rsyslog is differs: installed, or unpacked beside syslog-ng. The script
// kills it when it is told to end: rsyslog itself ignores some signals, and its module
// for ZeroMQ does not always end well.
func rsyslog(ts *testscript.TestScript, _ bool, args []string) {
	config := ts.MkAbs(args[0])
	command, env, err := rig.Rsyslog(config, config+".pid")
	ts.Check(err)
	text := "#!/bin/sh\nenv"
	for _, word := range append(env, command...) {
		text += fmt.Sprintf(" '%s'", word)
	}
	text += " &\ntrap 'kill -KILL $!' INT TERM\nwait $!\n"
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o755))
}
