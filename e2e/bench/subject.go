package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// subject is a collector that is measured. It writes all.log in its directory.
type subject struct {
	name  string
	ours  bool // is fanin, and can be asked how it does
	peer  bool // is unpacked from Debian, if that can be had
	udp   bool // takes datagrams
	idle  bool // worth asking what idle connections cost
	chain int  // share of the lines that its agent chain gets, 1 of so many; 0: has none

	// command prepares a directory and tells what to run in it.
	command func(dir string, port, conns int) (args, env []string, err error)
	// agent, if it has one, follows a file and sends it to the port.
	agent func(dir, file string, port int) (args, env []string, err error)
	// inside runs the command in a network namespace; nil: it runs beside the bench.
	inside []string
}

// peerShare is the share of the lines that a slow chain gets, 1 of so many.
const peerShare = 8

func (b *bench) subjects() []subject {
	list := []subject{
		{name: "copy", command: b.copy},
		{name: "socat", command: b.socat},
		{name: "fanin-none", ours: true, udp: true, idle: true, chain: 1, command: b.fanin("none"), agent: b.faninAgent},
		{name: "fanin-commit", ours: true, chain: 1, command: b.fanin("commit"), agent: b.faninAgent},
		{name: "rsyslog", peer: true, udp: true, idle: true, chain: peerShare, command: b.rsyslog, agent: b.rsyslogAgent},
		{name: "syslog-ng", peer: true, udp: true, idle: true, command: b.syslogNG},
	}
	var wanted []subject
	for _, s := range list {
		if s.peer && b.noPeers {
			continue
		}
		if b.chosen(s) {
			wanted = append(wanted, s)
		}
	}
	return wanted
}

// chosen is whether a subject was asked for.
func (b *bench) chosen(s subject) bool {
	for only := range strings.SplitSeq(b.only, ",") {
		if strings.HasPrefix(s.name, only) {
			return true
		}
	}
	return false
}

func (b *bench) copy(_ string, port, _ int) (args, env []string, err error) {
	self, err := os.Executable()
	return []string{self, "-role", "copy", address(port), "all.log"}, nil, err
}

func (b *bench) socat(_ string, port, _ int) (args, env []string, err error) {
	return []string{"socat", "-u", "-b", "262144", fmt.Sprintf("TCP-LISTEN:%d,bind=127.0.0.1,reuseaddr,fork,backlog=128", port), "OPEN:all.log,creat,append"}, nil, nil
}

// fanin is the collector; more are further keys of its log.
func (b *bench) fanin(sync string, more ...string) func(string, int, int) (args, env []string, err error) {
	return func(dir string, port, _ int) (args, env []string, err error) {
		// The others rotate nothing, so this does not either.
		config := fmt.Sprintf("[collector]\nstate = \"state\"\n[collector.log]\npath = \"all.log\"\nsync = %q\nrotate_size = \"off\"\nkeep_bytes = \"off\"\n%s\n"+
			"[[collector.tcp]]\nlisten = %q\n[[collector.udp]]\nlisten = %[3]q\n", sync, strings.Join(more, "\n"), address(port))
		return []string{b.collector, "--config", "collector.toml"}, nil, write(dir, "collector.toml", config)
	}
}

func (b *bench) faninAgent(_, file string, port int) (args, env []string, err error) {
	return []string{b.agent, "--to", address(port), "--id", "bench", "--state", "agent", file}, nil, nil
}

// What rsyslog writes into its file, and what it forwards: its host and tag are fixed, so that the
// lines come through the other side's parser.
const (
	rsyslogLine    = `template(name="line" type="string" string="%timegenerated:::date-rfc3339% %fromhost-ip% tcp: %rawmsg%\n")`
	rsyslogForward = `template(name="line" type="string" string="<13>%timegenerated:::date-rfc3339% bench in: %msg%\n")`
)

func (b *bench) rsyslog(dir string, port, _ int) (args, env []string, err error) {
	config := fmt.Sprintf(`global(workDirectory="%[1]s" net.enableDNS="off")
module(load="imtcp" maxSessions="2000")
module(load="imudp")
%[3]s
input(type="imtcp" address="127.0.0.1" port="%[2]d")
input(type="imudp" address="127.0.0.1" port="%[2]d" rcvbufSize="8m")
action(type="omfile" file="%[1]s/all.log" template="line")
`, dir, port, rsyslogLine)
	return b.peers.rsyslog(dir, "collector"), b.peers.env, write(dir, "collector.conf", config)
}

// rsyslogAgent follows a file with imfile and sends it over plain TCP.
func (b *bench) rsyslogAgent(dir, file string, port int) (args, env []string, err error) {
	return b.rsyslogSender(dir, fmt.Sprintf(`global(workDirectory="%[1]s/agent" net.enableDNS="off")
module(load="imfile")
%[4]s
input(type="imfile" file="%[2]s" tag="in:")
action(type="omfwd" target="127.0.0.1" port="%[3]d" protocol="tcp" template="line")
`, dir, file, port, rsyslogForward))
}

func (b *bench) rsyslogSender(dir, config string) (args, env []string, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "agent"), 0o750); err != nil {
		return nil, nil, err
	}
	return b.peers.rsyslog(dir, "agent"), b.peers.env, write(dir, "agent.conf", config)
}

func (b *bench) syslogNG(dir string, port, conns int) (args, env []string, err error) {
	conns = max(conns, 10)
	config := fmt.Sprintf(`@version: 3.38
options { stats-freq(0); use-dns(no); frac-digits(6); chain-hostnames(no); };
source s {
	network(ip("127.0.0.1") port(%[1]d) transport("tcp") flags(no-parse) max-connections(%[2]d) log-iw-size(%[3]d));
	network(ip("127.0.0.1") port(%[1]d) transport("udp") flags(no-parse) so-rcvbuf(8388608));
};
destination d { file("%[4]s/all.log" template("${R_ISODATE} ${SOURCEIP} tcp: ${MESSAGE}\n") log-fifo-size(%[5]d)); };
log { source(s); destination(d); flags(flow-control); };
`, port, conns, conns*100, dir, conns*100+10000)
	return b.peers.syslogNG(dir), b.peers.env, write(dir, "collector.conf", config)
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func write(dir, name, text string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640)
}
