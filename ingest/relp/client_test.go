package relp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/ingest/stream"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// client behaves as librelp does: it holds a message until its answer was read, and sends those
// that it holds again behind the next open.
type client struct {
	address string
	window  int

	nc     net.Conn
	r      *bufio.Reader
	number int
	held   []string // messages without an answer, in order
	first  int      // number of the first of them
}

// open connects, opens a session, and sends what is held again.
func (c *client) open() (err error) {
	if c.nc, err = net.Dial("tcp", c.address); err != nil {
		return err
	}
	c.nc.SetDeadline(time.Now().Add(waittest.Limit))
	c.r, c.number = bufio.NewReader(c.nc), 0
	err = c.write("open", "relp_version=0\nrelp_software=test\ncommands=syslog")
	if err == nil {
		var text string
		if _, text, err = c.read(); err == nil && !strings.HasPrefix(text, "200 OK\n") {
			err = errors.New(text)
		}
	}
	c.first = c.number + 1
	for _, text := range c.held {
		err = errors.Join(err, c.write("syslog", text))
	}
	return err
}

func (c *client) write(command, data string) error {
	c.number++
	text := fmt.Sprintf("%d %s %d", c.number, command, len(data))
	if data != "" {
		text += " " + data
	}
	_, err := io.WriteString(c.nc, text+"\n")
	return err
}

// read reads one answer.
func (c *client) read() (number int, text string, err error) {
	head := make([]string, 2)
	for i := range head {
		if head[i], err = c.r.ReadString(' '); err != nil {
			return 0, "", err
		}
	}
	number, _ = strconv.Atoi(strings.TrimSpace(head[0]))
	size, end := 0, byte(0)
	for {
		if end, err = c.r.ReadByte(); err != nil || end < '0' || end > '9' {
			break
		}
		size = 10*size + int(end-'0')
	}
	if err == nil && head[1] == "serverclose " {
		return number, "", errServerClose
	}
	b := make([]byte, size)
	if end == ' ' && err == nil {
		_, err = io.ReadFull(c.r, b)
		c.r.ReadByte()
	}
	return number, string(b), err
}

var errServerClose = errors.New("the server closes the session")

// answer reads the answer to the first message that is held.
func (c *client) answer() error {
	number, text, err := c.read()
	if err == nil && (number != c.first || text != "200 OK") {
		err = fmt.Errorf("the answer to %d is %d %q", c.first, number, text)
	}
	if err == nil {
		c.held, c.first = c.held[1:], c.first+1
	}
	return err
}

// send sends messages, and reads answers where the window is full.
func (c *client) send(all ...string) error {
	for _, text := range all {
		for len(c.held) >= c.window {
			if err := c.answer(); err != nil {
				return err
			}
		}
		c.held = append(c.held, text)
		if err := c.write("syslog", text); err != nil {
			return err
		}
	}
	return nil
}

// settle reads all answers.
func (c *client) settle() error {
	for len(c.held) > 0 {
		if err := c.answer(); err != nil {
			return err
		}
	}
	return nil
}

// cut breaks the session as librelp does, with a reset: what was answered and not read is gone.
func (c *client) cut() {
	c.nc.(*net.TCPConn).SetLinger(0)
	c.nc.Close()
}

// close ends the session in order.
func (c *client) close() error {
	err := errors.Join(c.settle(), c.write("close", ""))
	if err == nil {
		_, _, err = c.read()
	}
	return errors.Join(err, c.nc.Close())
}

// server is a listener with a log in memory.
type server struct {
	*Protocol
	listener *stream.Listener
	recorder *ingesttest.Recorder
	address  string
	stop     func()
}

// start serves p until the test ends, or stop is called. Zero fields of p are filled.
func start(t testing.TB, p *Protocol) *server {
	t.Helper()
	s := &server{Protocol: p, recorder: ingesttest.NewRecorder()}
	if r, ok := p.Out.(*ingesttest.Recorder); ok {
		s.recorder = r
	} else if p.Out == nil {
		p.Out = s.recorder
	}
	s.listener = &stream.Listener{Formats: []stream.Format{p.Format()}, Budget: new(ingest.Budget), Metrics: p.Metrics}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.listener.Serve(ln) }() // ends by stop
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), waittest.Limit)
		defer cancel()
		if err := s.listener.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		<-served
		if n := s.listener.Budget.Used(); n != 0 {
			t.Errorf("%d bytes of memory were not released", n)
		}
	}
	t.Cleanup(s.stop)
	return s
}

// remembered is what a log with these batches remembers.
func remembered(batches []wire.Batch) func(wire.ExtensionKind) map[string][]byte {
	all := make(map[string][]byte)
	for _, b := range batches {
		for _, x := range b.Extensions {
			if all[x.Name] = x.Value; len(x.Value) == 0 {
				delete(all, x.Name)
			}
		}
	}
	return func(wire.ExtensionKind) map[string][]byte { return all }
}

// batches are those recorded until now.
func (s *server) batches(t testing.TB) []wire.Batch {
	_, all := s.recorder.Wait(t, func(string, []wire.Batch) bool { return true })
	return all
}

// again starts a server that has what s has recorded in its log.
func (s *server) again(t testing.TB) *server {
	t.Helper()
	s.stop()
	return start(t, &Protocol{Out: s.recorder, Sessions: &Sessions{Remembered: remembered(s.batches(t))}})
}

func (s *server) metric(t testing.TB, name string) int {
	t.Helper()
	return ingesttest.Metric(t, s.Metrics, "fanin_relp_"+name+"_total", "")
}

// must fails the test at an error.
func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// linesOf are lines, each with its newline.
func linesOf(all ...string) string { return strings.Join(all, "\n") + "\n" }

// several are messages with numbers.
func several(from, to int) (all []string) {
	for n := from; n < to; n++ {
		all = append(all, fmt.Sprintf("line %d", n))
	}
	return all
}
