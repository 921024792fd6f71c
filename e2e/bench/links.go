package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// linkHost is the collector's address in a namespace of its own. It is none of the loopback's, so
// that the agent takes the collector for one on another machine.
const linkHost = "192.0.2.1"

// link is what is between an agent and a collector, and how the agent sends over it.
type link struct {
	name     string
	rate     string // of tc; "": as fast as memory
	compress string
	share    int // of the lines, 1 of so many
}

var links = []link{
	{"fast link, TLS, compress = none", "", "none", 1},
	{"fast link, TLS, the defaults", "", "auto", 1},
	{"fast link, TLS, compress = zstd", "", "zstd", 1},
	{"100 Mbit/s, TLS, compress = none", "100mbit", "none", 8},
	{"100 Mbit/s, TLS, the defaults", "100mbit", "auto", 8},
}

// linkWorkloads are an agent and a collector that speak TLS over links. They need root, for a
// network namespace. rsyslog cannot compress what it sends over TLS.
func (b *bench) linkWorkloads() (list []workload) {
	for _, l := range links {
		w := workload{kind: "link", name: l.name, fits: func(subject) bool { return true },
			measure: func(s subject) (sample, error) { return b.overLink(s, l) }}
		for _, sync := range []string{"none", "commit"} {
			w.subjects = append(w.subjects, subject{name: "fanin-" + sync, ours: true, command: b.faninTLS(sync)})
		}
		if l.compress == "none" && l.rate == "" && !b.noPeers {
			w.subjects = append(w.subjects, subject{name: "rsyslog", peer: true, command: b.rsyslogTLS, agent: b.rsyslogTLSAgent})
		}
		list = append(list, w)
	}
	return list
}

// namespace makes a network namespace with a link, and returns what runs a program in it.
func namespace(l link) (prefix []string, remove func(), err error) {
	name := fmt.Sprintf("fanin-bench-%d", os.Getpid())
	if err := command("", "ip", "netns", "add", name); err != nil {
		return nil, nil, err
	}
	remove = func() { command("", "ip", "netns", "delete", name) }
	steps := [][]string{{"ip", "-n", name, "address", "add", linkHost + "/32", "dev", "lo"}}
	if l.rate != "" { // a packet must not be larger than the bucket
		steps = append(steps, []string{"ip", "-n", name, "link", "set", "lo", "mtu", "1500"},
			[]string{"tc", "-n", name, "qdisc", "add", "dev", "lo", "root", "tbf", "rate", l.rate, "burst", "32kb", "latency", "50ms"})
	}
	for _, step := range append(steps, []string{"ip", "-n", name, "link", "set", "lo", "up"}) {
		if err := command("", step[0], step[1:]...); err != nil {
			remove()
			return nil, nil, err
		}
	}
	return []string{"nsenter", "--net=/run/netns/" + name, "--"}, remove, nil
}

// faninTLS is a collector that speaks TLS on linkHost.
func (b *bench) faninTLS(sync string) func(string, int, int) (args, env []string, err error) {
	return func(dir string, port, _ int) (args, env []string, err error) {
		if err := certificate(dir); err != nil {
			return nil, nil, err
		}
		config := fmt.Sprintf("[collector]\nstate = \"state\"\n[collector.log]\npath = \"all.log\"\nsync = %q\nrotate_size = \"off\"\nkeep_bytes = \"off\"\n"+
			"[[collector.tcp]]\nlisten = \"%s:%d\"\ntls = {cert = \"cert.pem\", key = \"key.pem\"}\n", sync, linkHost, port)
		return []string{b.collector, "--config", "collector.toml"}, nil, write(dir, "collector.toml", config)
	}
}

// rsyslogTLS is rsyslog with GnuTLS, which has a certificate and asks for none, as fanin's collector does.
func (b *bench) rsyslogTLS(dir string, port, _ int) (args, env []string, err error) {
	if err := certificate(dir); err != nil {
		return nil, nil, err
	}
	config := fmt.Sprintf(`global(workDirectory="%[1]s" net.enableDNS="off" defaultNetstreamDriver="gtls"
	defaultNetstreamDriverCAFile="%[1]s/cert.pem" defaultNetstreamDriverCertFile="%[1]s/cert.pem" defaultNetstreamDriverKeyFile="%[1]s/key.pem")
module(load="imtcp" maxSessions="2000" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")
%[2]s
input(type="imtcp" address="%[3]s" port="%[4]d")
action(type="omfile" file="%[1]s/all.log" template="line")
`, dir, rsyslogLine, linkHost, port)
	return b.peers.rsyslog(dir, "collector"), b.peers.env, write(dir, "collector.conf", config)
}

// rsyslogTLSAgent follows a file with imfile, and checks the collector's certificate.
func (b *bench) rsyslogTLSAgent(dir, file string, port int) (args, env []string, err error) {
	return b.rsyslogSender(dir, fmt.Sprintf(`global(workDirectory="%[1]s/agent" net.enableDNS="off" defaultNetstreamDriverCAFile="%[1]s/cert.pem")
module(load="imfile")
%[2]s
input(type="imfile" file="%[3]s" tag="in:")
action(type="omfwd" target="%[4]s" port="%[5]d" protocol="tcp" template="line"
	streamDriver="gtls" streamDriverMode="1" streamDriverAuthMode="x509/certvalid")
`, dir, rsyslogForward, file, linkHost, port))
}

// faninTLSAgent follows a file, and checks the collector's certificate.
func (b *bench) faninTLSAgent(compress string) func(string, string, int) (args, env []string, err error) {
	return func(dir, file string, port int) (args, env []string, err error) {
		config := fmt.Sprintf("[agent]\nid = \"bench\"\nstate = \"agent\"\nto = [\"tls://%s:%d\"]\ncompress = %q\ntls = {ca = \"cert.pem\"}\n"+
			"[[agent.file]]\npaths = [%q]\nsource = \"in\"\n", linkHost, port, compress, file)
		return []string{b.agent, "--config", "agent.toml"}, nil, write(dir, "agent.toml", config)
	}
}

// certificate writes a certificate for linkHost that is its own authority, and its key.
func certificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.ParseIP(linkHost)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// overLink is a chain over a link.
func (b *bench) overLink(s subject, l link) (r sample, err error) {
	inside, remove, err := namespace(l)
	if err != nil {
		return r, err
	}
	defer remove()
	s.inside = inside
	s.chain = l.share
	sender := b.faninTLSAgent(l.compress)
	if !s.ours {
		s.chain, sender = max(s.chain, peerShare), s.agent
	}
	s.agent = func(dir, file string, port int) (args, env []string, err error) {
		args, env, err = sender(dir, file, port)
		return append(slices.Clone(inside), args...), env, err
	}
	return b.chain(s)
}

func (b *bench) linkTable(out *strings.Builder) {
	var rows [][]string
	for _, l := range links {
		for _, r := range b.results.of(l.name) {
			rows = append(rows, []string{l.name, r.subject, r.text((*sample).speed, "%.2f"),
				r.text((*sample).agentPerM, "%.2f") + " + " + r.text((*sample).cpuPerM, "%.2f"),
				r.text((*sample).agentPeak, "%.0f") + " / " + r.text((*sample).peak, "%.0f"), r.wrong()})
		}
	}
	table(out, "File, agent, TLS, collector, file; "+million(b.lines)+" lines (rsyslog, and 100 Mbit/s: an eighth)",
		[]string{"", "", "M lines/s", "CPU s per M, agent + collector", "peak MiB, agent / collector", "lost / doubled / reordered / torn"}, rows)
}

// linkGoals are those over TLS.
func (b *bench) linkGoals(add func(what string, value, bound float64, atLeast bool),
	of func(workload, subject string, figure func(*sample) float64) float64) {
	both := func(s *sample) float64 { return s.agentPerM() + s.cpuPerM() }
	bounds := map[string][]float64{"fanin-none": {3.5, 3}, "fanin-commit": {2.5, 2.2}}
	for _, s := range []string{"fanin-none", "fanin-commit"} {
		add(s+", "+links[0].name+": M lines/s", of(links[0].name, s, (*sample).speed), bounds[s][0], true)
		add(s+", "+links[0].name+": CPU s per M, both", of(links[0].name, s, both), 0.35, false)
		add(s+", "+links[1].name+": M lines/s", of(links[1].name, s, (*sample).speed), bounds[s][1], true)
		add(s+", 100 Mbit/s: the defaults, times uncompressed",
			of(links[4].name, s, (*sample).speed)/of(links[3].name, s, (*sample).speed), 4, true)
	}
}
