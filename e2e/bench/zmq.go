package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanin/e2e/rig"
)

// Peers over ZeroMQ are programs in C beside libzmq, so that the other side of fanin
// is as fast as it gets. Each message is a line of 100 bytes.

// subscribers is how many take what PUB sends.
const subscribers = 10

// slow is the share of the lines that rsyslog's modules get, 1 of so many.
const slow = 16

func (b *bench) zmqWorkloads() (list []workload) {
	program, err := b.messages()
	if err != nil {
		fmt.Fprintf(os.Stderr, "ZeroMQ is left out, since its peers in C cannot be built: %v\n", err)
		return nil
	}
	add := func(name string, subjects []subject, measure func(string, subject) (sample, error)) {
		list = append(list, workload{kind: "tcp", name: name, fits: func(subject) bool { return true },
			measure: func(s subject) (sample, error) { return measure(program, s) }, subjects: subjects})
	}
	fanin := []subject{
		{name: "fanin-none", ours: true, command: b.fanin("none")},
		{name: "fanin-commit", ours: true, command: b.fanin("commit")},
	}
	add("zmq in", append(fanin, subject{name: "libzmq"}, subject{name: "rsyslog imczmq", command: b.imczmq}), b.pulled)
	add("zmq out", append(fanin[:1:1], subject{name: "libzmq"}, subject{name: "rsyslog omczmq", agent: b.omczmq}), b.pushed)
	add("zmq pub", append(fanin[:1:1], subject{name: "libzmq"}), b.published)
	return withoutRsyslog(list)
}

// withoutRsyslog leaves rsyslog's modules out where they are missing.
func withoutRsyslog(list []workload) []workload {
	if _, _, err := rig.Rsyslog("", ""); err == nil {
		return list
	}
	fmt.Fprintln(os.Stderr, "rsyslog's modules for ZeroMQ and Redis are left out: run make setup")
	for i := range list {
		list[i].fits = func(s subject) bool { return !strings.HasPrefix(s.name, "rsyslog") }
	}
	return list
}

// messages builds the peers, where there is a compiler and libzmq's header.
func (b *bench) messages() (program string, err error) {
	program = filepath.Join(b.dir, "messages")
	source := filepath.Join(rig.Root(), "e2e", "bench", "testdata", "messages.c")
	return program, command(b.dir, "cc", "-O2", "-o", program, source, "-lzmq")
}

// counts lets a peer go, and notes what it says: how many messages it had, how many it
// missed, and how many came behind a later one.
func (h *helper) counts(r *sample) error {
	if err := h.begin(); err != nil {
		return err
	}
	_, err := fmt.Fscan(h.says, &r.Lines, &r.Lost, &r.Reordered)
	_, rerr := io.Copy(io.Discard, h.says)
	return errors.Join(err, rerr, h.cmd.Wait())
}

// cpuTime is that of a helper that has ended, in seconds.
func (h *helper) cpuTime() float64 {
	return (h.cmd.ProcessState.UserTime() + h.cmd.ProcessState.SystemTime()).Seconds()
}

// pulled sends messages of one PUSH socket to the subject.
func (b *bench) pulled(program string, s subject) (r sample, err error) {
	port, err := rig.FreePort()
	if err != nil {
		return r, err
	}
	if s.name == "libzmq" {
		return b.throughLibzmq(program, port, "push", messageSize)
	}
	lines := b.lines
	if s.ours {
		s.command = withTable(s.command, fmt.Sprintf("[[collector.zmq]]\npull = [\"tcp://%s\"]\n", address(port)))
	} else {
		lines /= slow
	}
	t, err := b.begin(s, 1)
	if err != nil {
		return r, err
	}
	defer t.stop()
	if !s.ours {
		port = t.port
	} else if err := t.listening("tcp", port); err != nil {
		return r, err
	}
	h, err := prepareProgram(program, "push", ">tcp://"+address(port), lines, messageSize)
	if err != nil {
		return r, err
	}
	profiled := b.profile(t, "zmq-in", lines)
	cpu, begun := t.cpu(), time.Now()
	if err := h.begin(); err != nil {
		return r, err
	}
	r.Seconds = t.landed(lines, int64(lines)*(messageSize+1)).Sub(begun).Seconds()
	r.CPU, r.Peak = t.cpu()-cpu, t.memory("VmHWM")
	if err := h.ready(); err != nil {
		return r, err
	}
	if err := h.counts(new(sample)); err != nil {
		return r, err
	}
	<-profiled
	c := newCounter(1, lines)
	c.block = newMessages()
	return r, t.endAs(c, &r)
}

// throughLibzmq is libzmq on both sides: one sender, and receivers that only count.
func (b *bench) throughLibzmq(program string, port int, role string, more ...any) (r sample, err error) {
	receive, peers := "pull", 1
	send := append([]any{role, ">tcp://" + address(port), b.lines}, more...)
	take := []any{receive, "@tcp://" + address(port), b.lines}
	if role == "pub" {
		peers = subscribers
		send[1] = "@tcp://" + address(port)
		take = []any{"sub", ">tcp://" + address(port), b.lines / subscribers, peers}
		send[2] = b.lines / subscribers
	}
	prepared := make(chan error, 1)
	var from *helper
	go func() { // ends when the sender has its receivers
		var err error
		from, err = prepareProgram(program, send...)
		prepared <- err
	}()
	to, err := prepareProgram(program, take...)
	if err = errors.Join(err, <-prepared); err != nil {
		return r, err
	}
	begun := time.Now()
	if err := errors.Join(to.begin(), from.begin(), to.ready()); err != nil {
		return r, err
	}
	r.Seconds = time.Since(begun).Seconds()
	if err := from.ready(); err != nil {
		return r, err
	}
	err = from.counts(new(sample))
	cerr := to.counts(&r)
	r.CPU = to.cpuTime()
	return r, errors.Join(err, cerr)
}

// imczmq takes messages with rsyslog's module and writes them to a file.
func (b *bench) imczmq(dir string, port, _ int) (args, env []string, err error) {
	config := fmt.Sprintf(`global(workDirectory="%[1]s" net.enableDNS="off")
module(load="imczmq")
template(name="line" type="string" string="%%timegenerated:::date-rfc3339%% 127.0.0.1 zmq: %%rawmsg%%\n")
ruleset(name="in") { action(type="omfile" file="%[1]s/all.log" template="line") }
input(type="imczmq" endpoints="@tcp://127.0.0.1:%[2]d" socktype="PULL" ruleset="in")
`, dir, port)
	if err := write(dir, "collector.conf", config); err != nil {
		return nil, nil, err
	}
	return rig.Rsyslog(filepath.Join(dir, "collector.conf"), filepath.Join(dir, "collector.pid"))
}

// pushed counts what one PULL socket receives of a collector that takes the lines over
// TCP meanwhile, or of rsyslog, which reads them from a file.
func (b *bench) pushed(program string, s subject) (r sample, err error) {
	port, err := rig.FreePort()
	if err != nil {
		return r, err
	}
	if s.name == "libzmq" {
		return b.throughLibzmq(program, port, "push", 2*messageSize)
	}
	if !s.ours {
		return b.sentByRsyslog(s, port, func(lines int) (*helper, error) {
			return prepareProgram(program, "pull", "@tcp://"+address(port), lines)
		})
	}
	s.command = withTable(s.command, fmt.Sprintf("[[collector.zmq]]\n[collector.zmq.output]\npush = \"tcp://%s\"\nfrom = \"start\"\n", address(port)))
	t, err := b.begin(s, 1)
	if err != nil {
		return r, err
	}
	defer t.stop()
	to, err := prepareProgram(program, "pull", ">tcp://"+address(port), b.lines)
	if err != nil {
		return r, err
	}
	return b.through(t, to, b.lines, "zmq-out")
}

// through sends lines into a collector and waits until a peer in C has all of them.
func (b *bench) through(t *trial, to *helper, lines int, profile string) (r sample, err error) {
	from, err := prepare("send", address(t.port), 1, lines)
	if err != nil {
		return r, err
	}
	profiled := b.profile(t, profile, lines)
	cpu, begun := t.cpu(), time.Now()
	if err := errors.Join(to.begin(), from.begin(), to.ready()); err != nil {
		return r, err
	}
	r.Seconds = time.Since(begun).Seconds()
	r.CPU, r.Peak = t.cpu()-cpu, t.memory("VmHWM")
	if err := from.end(); err != nil {
		return r, err
	}
	<-profiled
	err = to.counts(&r)
	return r, errors.Join(err, t.stop(), os.RemoveAll(t.dir))
}

// sentByRsyslog has rsyslog read a file and send its lines to a peer.
func (b *bench) sentByRsyslog(s subject, port int, peer func(lines int) (*helper, error)) (r sample, err error) {
	lines := b.lines / slow
	file, err := b.source(lines)
	if err != nil {
		return r, err
	}
	if err := cached(file); err != nil {
		return r, err
	}
	dir := filepath.Join(b.dir, "trial")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o750)); err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	args, env, err := s.agent(dir, file, port)
	if err != nil {
		return r, err
	}
	to, err := peer(lines)
	if err != nil {
		return r, err
	}
	begun := time.Now()
	p, err := start(dir, env, args...)
	if err != nil {
		return r, err
	}
	defer p.stop()
	if err := errors.Join(to.begin(), to.ready()); err != nil {
		return r, err
	}
	r.Seconds = time.Since(begun).Seconds()
	r.CPU, r.Peak = p.cpu(), p.memory("VmHWM")
	err = to.counts(&r)
	return r, err
}

// omczmq sends a file's lines with rsyslog's module.
func (b *bench) omczmq(dir, file string, port int) (args, env []string, err error) {
	return rsyslogSender(dir, file, `module(load="omczmq")
ruleset(name="out") { action(type="omczmq" endpoints=">tcp://127.0.0.1:%d" socktype="PUSH" template="line") }
`, port)
}

// rsyslogSender is rsyslog with imfile and an output for its ruleset.
func rsyslogSender(dir, file, output string, port int) (args, env []string, err error) {
	config := fmt.Sprintf(`global(workDirectory="%s" net.enableDNS="off")
module(load="imfile")
template(name="line" type="string" string="%%msg%%")
input(type="imfile" file="%s" tag="in:" ruleset="out")
`, dir, file) + fmt.Sprintf(output, port)
	if err := write(dir, "sender.conf", config); err != nil {
		return nil, nil, err
	}
	return rig.Rsyslog(filepath.Join(dir, "sender.conf"), filepath.Join(dir, "sender.pid"))
}

// published counts what subscribers receive together.
func (b *bench) published(program string, s subject) (r sample, err error) {
	port, err := rig.FreePort()
	if err != nil {
		return r, err
	}
	if s.name == "libzmq" {
		return b.throughLibzmq(program, port, "pub", 2*messageSize, subscribers)
	}
	s.command = withTable(s.command, fmt.Sprintf("[[collector.zmq]]\n[collector.zmq.output]\npub = \"tcp://%s\"\n", address(port)))
	t, err := b.begin(s, 1)
	if err != nil {
		return r, err
	}
	defer t.stop()
	stop := make(chan struct{})
	go introduce(t.port, stop) // ends when all have subscribed
	lines := b.lines / subscribers
	to, err := prepareProgram(program, "sub", ">tcp://"+address(port), lines, subscribers)
	close(stop)
	if err != nil {
		return r, err
	}
	return b.through(t, to, lines, "zmq-pub")
}

// introduce sends lines without a number until it is told to stop: who receives one has
// subscribed in time for the others.
func introduce(port int, stop chan struct{}) {
	peer, err := net.Dial("tcp", address(port))
	if err != nil {
		return
	}
	defer peer.Close()
	for {
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond):
			if _, err := io.WriteString(peer, "begin\n"); err != nil {
				return
			}
		}
	}
}

// zmqTable has what goes over ZeroMQ.
func (b *bench) zmqTable(out *strings.Builder) {
	ways := []struct{ workload, title string }{
		{"zmq in", "One libzmq PUSH socket to a file, messages of 100 bytes (libzmq: to a PULL socket that only counts)"},
		{"zmq out", "Lines to one libzmq PULL socket (fanin: taken over TCP and written to the file meanwhile; rsyslog: from a file)"},
		{"zmq pub", fmt.Sprintf("PUB to %d libzmq subscribers, all together (libzmq: a publisher that waits instead of dropping)", subscribers)},
	}
	for _, w := range ways {
		var rows [][]string
		for _, r := range b.results.of(w.workload) {
			rows = append(rows, []string{r.subject, r.text((*sample).speed, "%.2f"), b.ratio(r, "libzmq", (*sample).speed),
				r.text((*sample).cpuPerM, "%.2f"), r.text((*sample).peak, "%.0f"), r.wrong()})
		}
		table(out, w.title+"; "+million(b.lines)+" in all (rsyslog: a sixteenth)",
			[]string{"", "M messages/s", "x libzmq", "CPU s per M", "peak MiB", "lost / doubled / reordered / torn"}, rows)
	}
}
