package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"fanin/e2e/rig"
)

// trial is one subject, running in a directory of its own.
type trial struct {
	*process
	subject subject
	args    []string
	dir     string
	log     string
	port    int
}

func (b *bench) begin(s subject, conns int) (*trial, error) {
	dir := filepath.Join(b.dir, "trial")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	port, err := rig.FreePort()
	if err != nil {
		return nil, err
	}
	args, env, err := s.command(dir, port, conns)
	if err != nil {
		return nil, err
	}
	t := &trial{subject: s, args: args, dir: dir, log: filepath.Join(dir, "all.log"), port: port}
	if t.process, err = start(dir, env, append(s.inside, args...)...); err != nil {
		return nil, err
	}
	if err = t.listening("tcp", port); err == nil && s.udp {
		err = t.listening("udp", port)
	}
	if err != nil {
		t.stop()
		return nil, t.failed(err)
	}
	return t, nil
}

// stall is how long nothing may arrive until nothing more is expected.
const stall = 3 * time.Second

// landed waits until the file holds so many of our lines, with so many bytes, and
// returns when the last of them came. What a layout puts before a line is seen in
// the first one.
func (t *trial) landed(lines int, size int64) (last time.Time) {
	before, want, had := -1, int64(0), int64(0)
	last = time.Now()
	for ; ; time.Sleep(500 * time.Microsecond) {
		fi, err := os.Stat(t.log)
		now := time.Now()
		if err == nil && fi.Size() > had {
			had, last = fi.Size(), now
			if before < 0 {
				before, want = layout(t.log, lines, size)
			}
		}
		if before >= 0 && had >= want || now.Sub(last) > stall {
			return last
		}
	}
}

// jsonEnd is what the layout json puts behind a line.
var jsonEnd = []byte("\"}\n")

// layout reads the first lines of the file: how many bytes come before a line,
// and how large the file becomes.
func layout(path string, lines int, size int64) (before int, whole int64) {
	f, err := os.Open(path)
	if err != nil {
		return -1, 0
	}
	defer f.Close()
	head := make([]byte, 64<<10)
	n, _ := f.Read(head)
	notices := 0
	for line := range bytes.Lines(head[:n]) {
		if at := bytes.IndexByte(line, '@'); at >= 0 {
			around := at
			if bytes.HasSuffix(line, jsonEnd) {
				around += len(jsonEnd) - 1
			}
			return at, int64(notices) + size + int64(lines)*int64(around)
		}
		notices += len(line)
	}
	return -1, 0
}

// end stops the subject and holds its file against what was sent.
func (t *trial) end(sources, each int, r *sample) error {
	return t.endAs(newCounter(sources, each), r)
}

// endAs is end for lines that a counter expects.
func (t *trial) endAs(c *counter, r *sample) error {
	if err := t.stop(); err != nil {
		return t.failed(err)
	}
	if err := t.verify(); err != nil {
		return err
	}
	fi, err := os.Stat(t.log)
	if err != nil {
		return t.failed(err)
	}
	r.Bytes = fi.Size()
	r.tally, err = tallyBlock(t.log, c)
	os.RemoveAll(t.dir)
	return err
}

// verify has fanin hold its log against its ledger; none of the others can.
func (t *trial) verify() error {
	if !t.subject.ours {
		return nil
	}
	return command(t.dir, t.args[0], append([]string{"verify"}, t.args[1:]...)...)
}

// plainTCP sends lines over connections, as fast as they are taken.
func (b *bench) plainTCP(s subject, conns int) (r sample, err error) {
	return b.overTCP(s, conns, newBlock, "send", fmt.Sprintf("tcp-%d", conns))
}

// overTCP sends lines as blocks of a kind have them.
func (b *bench) overTCP(s subject, conns int, of func(source int) *block, role, name string, more ...any) (r sample, err error) {
	t, err := b.begin(s, conns)
	if err != nil {
		return r, err
	}
	defer t.stop()
	each := b.lines / conns
	h, err := prepare(append([]any{role, address(t.port), conns, each}, more...)...)
	if err != nil {
		return r, err
	}
	profiled := b.profile(t, name, each*conns)
	cpu, begun := t.cpu(), time.Now()
	if err := h.begin(); err != nil {
		return r, err
	}
	r.Seconds = t.landed(each*conns, of(0).size(each)*int64(conns)).Sub(begun).Seconds()
	r.CPU, r.Peak = t.cpu()-cpu, t.memory("VmHWM")
	if err := h.end(); err != nil {
		return r, fmt.Errorf("sender: %w", err)
	}
	<-profiled
	c := newCounter(conns, each)
	c.block = of(0)
	return r, t.endAs(c, &r)
}

// datagrams sends a line a datagram.
func (b *bench) datagrams(s subject, lines, perSecond int) (r sample, err error) {
	return b.asDatagrams(s, lines, perSecond, newBlock(0), "datagrams")
}

// asDatagrams is datagrams of the lines of a block.
func (b *bench) asDatagrams(s subject, lines, perSecond int, of *block, role string, more ...any) (r sample, err error) {
	t, err := b.begin(s, 1)
	if err != nil {
		return r, err
	}
	defer t.stop()
	h, err := prepare(append([]any{role, address(t.port), lines, perSecond}, more...)...)
	if err != nil {
		return r, err
	}
	cpu, begun := t.cpu(), time.Now()
	if err := h.begin(); err != nil {
		return r, err
	}
	r.Seconds = t.landed(lines, of.size(lines)).Sub(begun).Seconds()
	r.CPU, r.Peak = t.cpu()-cpu, t.memory("VmHWM")
	if err := h.end(); err != nil {
		return r, fmt.Errorf("sender: %w", err)
	}
	if s.ours {
		if r.Counted, err = t.dropped(); err != nil {
			return r, err
		}
	}
	c := newCounter(1, lines)
	c.block = of
	return r, t.endAs(c, &r)
}

// idle asks what connections cost that have said something once.
func (b *bench) idle(s subject, conns int) (r sample, err error) {
	t, err := b.begin(s, conns+1)
	if err != nil {
		return r, err
	}
	defer t.stop()
	blocks := newBlock(0)
	text, _ := blocks.take(1)
	for i := range conns + 1 {
		if i == 1 {
			t.landed(1, int64(len(text)))
			r.More = -t.memory("VmRSS")
		}
		peer, err := net.Dial("tcp", address(t.port))
		if err != nil {
			return r, err
		}
		defer peer.Close()
		if _, err := peer.Write(text); err != nil {
			return r, err
		}
	}
	t.landed(conns+1, int64(conns+1)*int64(len(text)))
	time.Sleep(time.Second)
	r.More += t.memory("VmRSS")
	return r, nil
}
