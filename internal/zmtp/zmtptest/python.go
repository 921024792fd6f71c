// Package zmtptest has libzmq peers for tests: Python programs with pyzmq.
package zmtptest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"testing"
)

// python is Debian's, which has libzmq's binding.
const python = "/usr/bin/python3"

// begin precedes every program.
const begin = `
import json, struct, sys, time, zmq
context = zmq.Context()
args = sys.argv[1:]
def socket(kind, endpoint="", bind=False, topics=(), **options):
    s = context.socket(getattr(zmq, kind))
    s.linger, s.rcvtimeo, s.sndtimeo = 0, 30000, 30000
    for name, value in options.items():
        s.setsockopt(getattr(zmq, name), value)
    for topic in topics:
        s.setsockopt(zmq.SUBSCRIBE, topic)
    if endpoint and bind:
        s.bind(endpoint)
    elif endpoint:
        s.connect(endpoint)
    return s
def say(what):
    print(what, flush=True)
def wait():
    return sys.stdin.readline().strip()
`

// Peer is a running program.
type Peer struct {
	t   testing.TB
	in  io.WriteCloser
	out *bufio.Scanner
}

// Start runs a program until the test ends. It has args, socket(kind, endpoint, ...),
// say(text), which Line returns, and wait(), which returns what Tell tells. Without pyzmq
// the test is skipped.
func Start(t testing.TB, program string, args ...string) *Peer {
	t.Helper()
	if err := exec.Command(python, "-c", "import zmq").Run(); err != nil {
		t.Skip("needs python3-zmq of Debian: make setup installs it")
	}
	c := exec.Command(python, append([]string{"-c", begin + program}, args...)...)
	stderr := new(bytes.Buffer)
	c.Stderr = stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p := &Peer{t: t, in: in, out: bufio.NewScanner(out)}
	p.out.Buffer(nil, 16<<20)
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		if t.Failed() && stderr.Len() > 0 {
			t.Logf("a Python peer: %s", stderr)
		}
	})
	return p
}

// Line returns the next line that the program said.
func (p *Peer) Line() string {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatalf("a Python peer ended: %v", p.out.Err())
	}
	return p.out.Text()
}

// Want compares the next line.
func (p *Peer) Want(want string) {
	p.t.Helper()
	if got := p.Line(); got != want {
		p.t.Errorf("a Python peer says %q, want %q", got, want)
	}
}

// Tell ends a wait of the program.
func (p *Peer) Tell(text string) { fmt.Fprintln(p.in, text) }
