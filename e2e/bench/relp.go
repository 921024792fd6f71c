package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"fanin/e2e/rig"
)

// relpHead is what is before a line in each message.
const relpHead = "<13>2026-10-11T22:14:15.123456+00:00 web app: "

// relpWindow is the window of our own client: rsyslog's default.
const relpWindow = 128

// Shares of the lines, 1 of so many. imrelp syncs each message.
const (
	relpShare   = 8
	imrelpShare = 400
)

// relpWorkloads measure RELP with a client of our own and with rsyslog's, beside rsyslog's server in its most
// durable setting.
func (b *bench) relpWorkloads() (list []workload) {
	add := func(name string, subjects []subject, measure func(subject) (sample, error)) {
		list = append(list, workload{kind: "tcp", name: name, fits: func(subject) bool { return true },
			measure: measure, subjects: subjects})
	}
	all := []subject{
		{name: "fanin-none", ours: true, command: b.fanin("none")},
		{name: "fanin-commit", ours: true, command: b.fanin("commit")},
		{name: "rsyslog imrelp", command: b.imrelp},
	}
	for _, conns := range []int{1, 8} {
		add(relpName(conns), all, func(s subject) (sample, error) {
			return b.overRELP(s, func(t *trial, port, lines int) (*helper, error) {
				return prepare("relp-send", address(port), conns, lines/conns)
			}, conns)
		})
	}
	for _, window := range []int{128, 4096} {
		add(fmt.Sprintf("omrelp %d", window), all[1:], func(s subject) (sample, error) { return b.fromOmrelp(s, window) })
	}
	return withoutRsyslog(list)
}

func relpName(conns int) string { return fmt.Sprintf("relp %d", conns) }

// beginRELP begins a trial with a RELP server at a port.
func (b *bench) beginRELP(s subject) (t *trial, port, lines int, err error) {
	if port, err = rig.FreePort(); err != nil {
		return nil, 0, 0, err
	}
	lines = b.lines / imrelpShare
	if s.ours {
		lines = b.lines / relpShare
		s.command = withTable(s.command, fmt.Sprintf("[[collector.relp]]\nlisten = %q\ntrust_host = true\n", address(port)))
	}
	if t, err = b.begin(s, 1); err != nil {
		return nil, 0, 0, err
	}
	if !s.ours {
		port = t.port
	} else if err = t.listening("tcp", port); err != nil {
		t.stop()
	}
	return t, port, lines, err
}

// overRELP sends lines with a client of our own.
func (b *bench) overRELP(s subject, client func(*trial, int, int) (*helper, error), conns int) (r sample, err error) {
	t, port, lines, err := b.beginRELP(s)
	if err != nil {
		return r, err
	}
	defer t.stop()
	each := lines / conns
	h, err := client(t, port, lines)
	if err != nil {
		return r, err
	}
	profiled := b.profile(t, "relp", lines)
	cpu, begun := t.cpu(), time.Now()
	if err := h.begin(); err != nil {
		return r, err
	}
	r.Seconds = t.landed(each*conns, newBlock(0).size(each)*int64(conns)).Sub(begun).Seconds()
	r.CPU, r.Peak = t.cpu()-cpu, t.memory("VmHWM")
	if err := h.end(); err != nil {
		return r, fmt.Errorf("sender: %w", err)
	}
	<-profiled
	return r, t.end(conns, each, &r)
}

// fromOmrelp has rsyslog send a file.
func (b *bench) fromOmrelp(s subject, window int) (r sample, err error) {
	t, port, lines, err := b.beginRELP(s)
	if err != nil {
		return r, err
	}
	defer t.stop()
	file, err := b.source(lines)
	if err == nil {
		err = cached(file)
	}
	if err != nil {
		return r, err
	}
	args, env, err := rsyslogSender(t.dir, file, fmt.Sprintf(`module(load="omrelp")
template(name="message" type="string" string="%s%%%%msg%%%%")
ruleset(name="out" queue.type="LinkedList" queue.size="100000" queue.workerThreads="1") {
	action(type="omrelp" target="127.0.0.1" port="%%d" template="message" windowSize="%d" action.resumeRetryCount="-1")
}
`, relpHead, window), port)
	if err != nil {
		return r, err
	}
	cpu, begun := t.cpu(), time.Now()
	sender, err := start(t.dir, env, args...)
	if err != nil {
		return r, err
	}
	defer sender.stop()
	r.Seconds = t.landed(lines, newBlock(0).size(lines)).Sub(begun).Seconds()
	r.CPU, r.Peak = t.cpu()-cpu, t.memory("VmHWM")
	sender.stop()
	return r, t.end(1, lines, &r)
}

// imrelp is rsyslog's server as durable as it gets: what it has acknowledged is on the disk.
func (b *bench) imrelp(dir string, port, _ int) (args, env []string, err error) {
	config := fmt.Sprintf(`global(workDirectory="%[1]s" net.enableDNS="off")
module(load="imrelp")
template(name="line" type="string" string="%%timegenerated:::date-rfc3339%% %%hostname%% %%syslogtag%%%%msg%%\n")
ruleset(name="in" queue.type="Direct") { action(type="omfile" file="%[1]s/all.log" template="line" sync="on") }
input(type="imrelp" address="127.0.0.1" port="%[2]d" ruleset="in")
`, dir, port)
	if err := write(dir, "collector.conf", config); err != nil {
		return nil, nil, err
	}
	return rig.Rsyslog(filepath.Join(dir, "collector.conf"), filepath.Join(dir, "collector.pid"))
}

// relpSend sends lines over sessions with a window of relpWindow, and reads every answer.
func relpSend(address string, conns, each int) error {
	sessions := make([]*relpSession, conns)
	for i := range sessions {
		var err error
		if sessions[i], err = openRELP(address, i); err != nil {
			return err
		}
	}
	if err := onWord(); err != nil {
		return err
	}
	errs := make([]error, conns)
	var all sync.WaitGroup
	for i, s := range sessions {
		all.Go(func() { errs[i] = s.send(each) }) // ends with its lines
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return onWord()
}

// relpSession is one session of the load client.
type relpSession struct {
	net.Conn
	r      *bufio.Reader
	block  *block
	number int
}

func openRELP(address string, source int) (*relpSession, error) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &relpSession{Conn: nc, r: bufio.NewReaderSize(nc, 16<<10), block: newBlock(source), number: 1}
	const offers = "relp_version=0\nrelp_software=bench\ncommands=syslog"
	if _, err = fmt.Fprintf(nc, "1 open %d %s\n", len(offers), offers); err != nil {
		return nil, err
	}
	head, err := s.r.ReadString('\n') // 1 rsp LEN 200 OK
	if err != nil {
		return nil, err
	}
	fields := strings.SplitN(head, " ", 4)
	if len(fields) < 4 {
		return nil, fmt.Errorf("the answer to open is %q", head)
	}
	size, _ := strconv.Atoi(fields[2])
	_, err = s.r.Discard(max(size-len(fields[3])+1, 0))
	return s, err
}

// send keeps the window full.
func (s *relpSession) send(left int) error {
	var text, out []byte
	var ends []int
	at, free, open := 0, relpWindow, 0
	for left > 0 || open > 0 {
		if out = out[:0]; left > 0 {
			for ; free > 0 && left > 0; free, left, open = free-1, left-1, open+1 {
				if len(ends) == 0 {
					var n int
					text, n = s.block.take(left)
					ends, at = s.block.ends[:n], 0
				}
				out, at, ends = s.appendFrame(out, text[at:ends[0]-1]), ends[0], ends[1:]
			}
		}
		if _, err := s.Write(out); err != nil {
			return err
		}
		n, err := s.answers()
		if err != nil {
			return err
		}
		free, open = free+n, open-n
	}
	return nil
}

func (s *relpSession) appendFrame(dst, line []byte) []byte {
	s.number = s.number%999_999_999 + 1
	dst = strconv.AppendInt(dst, int64(s.number), 10)
	dst = append(dst, " syslog "...)
	dst = strconv.AppendInt(dst, int64(len(relpHead)+len(line)), 10)
	dst = append(append(append(dst, ' '), relpHead...), line...)
	return append(dst, '\n')
}

// answers reads the answers that are there, at least one.
func (s *relpSession) answers() (n int, err error) {
	for n == 0 || s.r.Buffered() > 0 {
		line, err := s.r.ReadSlice('\n')
		if err != nil {
			return n, err
		}
		if !strings.HasSuffix(string(line), " rsp 6 200 OK\n") {
			return n, fmt.Errorf("the answer is %q: %w", line, io.ErrUnexpectedEOF)
		}
		n++
	}
	return n, nil
}

func (b *bench) relpTable(out *strings.Builder) {
	for _, w := range []struct{ workload, title string }{
		{relpName(1), "RELP, one session of our own client, window 128"},
		{relpName(8), "RELP, 8 sessions of our own client, window 128"},
		{"omrelp 128", "RELP from rsyslog's omrelp, window 128"},
		{"omrelp 4096", "RELP from rsyslog's omrelp, window 4096"},
	} {
		var rows [][]string
		for _, r := range b.results.of(w.workload) {
			rows = append(rows, []string{r.subject, r.text((*sample).speed, "%.3f"), b.ratio(r, "rsyslog imrelp", (*sample).speed),
				r.text((*sample).cpuPerM, "%.2f"), r.text((*sample).peak, "%.0f"), r.wrong()})
		}
		table(out, w.title+"; "+million(b.lines/relpShare)+" lines (imrelp, with queue.type=\"Direct\" and sync=\"on\": fewer)",
			[]string{"", "M lines/s", "x imrelp", "CPU s per M", "peak MiB", "lost / doubled / reordered / torn"}, rows)
	}
}
