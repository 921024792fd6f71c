package scenario

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"fanin/e2e/rig"
)

// RedisOverload publishes on a Redis channel more than the collector can write.
func (p *Programs) RedisOverload(n int) (*Result, error) {
	return p.overload(n, "Redis channel, overload", &redisFlood{})
}

// ZMQOverload publishes over ZeroMQ more than the collector can write.
func (p *Programs) ZMQOverload(n int) (*Result, error) {
	return p.overload(n, "ZeroMQ SUB, overload", &zmqFlood{})
}

// redisFlood is a Redis server, and a client that publishes.
type redisFlood struct {
	server rig.Process
	port   int
	conn   net.Conn
	in     *bufio.Reader
}

func (f *redisFlood) table() string {
	return fmt.Sprintf("[[collector.redis]]\nurl = \"redis://127.0.0.1:%d/0\"\nchannels = [\"numbers*\"]\npending = \"1MiB\"\n", f.port)
}

func (f *redisFlood) breaks() string { return ` fanin: NOTE n=(\d+) unit=breaks reason=redis-away` }

func (f *redisFlood) start(dir string) (err error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("%w: %v", ErrUnable, err)
	}
	if f.port, err = rig.FreePort(); err != nil {
		return err
	}
	// The server drops a subscriber that is slow, unless it is told not to.
	f.server = rig.Process{Path: program, Args: []string{"--bind", "127.0.0.1", "--port", strconv.Itoa(f.port), "--save", "", "--dir", dir,
		"--client-output-buffer-limit", "pubsub 0 0 0"}}
	if err := f.server.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f.conn, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.port)); err == nil {
			f.in = bufio.NewReaderSize(f.conn, 64<<10)
			return nil
		}
	}
	return err
}

// number reads an answer that is a number, such as :1.
func (f *redisFlood) number() (int, error) {
	line, err := f.in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, ":")))
	if err != nil {
		return 0, fmt.Errorf("the Redis server answers %q", line)
	}
	return n, nil
}

func (f *redisFlood) ready() error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		fmt.Fprintf(f.conn, "PUBSUB NUMPAT\r\n")
		if n, err := f.number(); n == 1 || err != nil {
			return err
		}
	}
	return errors.New("no client subscribes")
}

func (f *redisFlood) publish(from, to int) error {
	sent := make(chan error, 1)
	go func() { // ends when all is sent, or with the connection
		out := bufio.NewWriterSize(f.conn, 64<<10)
		for i := from; i < to; i++ {
			text := fmt.Sprintf("number %d %s", i, overloadText)
			fmt.Fprintf(out, "*3\r\n$7\r\nPUBLISH\r\n$7\r\nnumbers\r\n$%d\r\n%s\r\n", len(text), text)
		}
		sent <- out.Flush()
	}()
	for range to - from {
		if n, err := f.number(); err != nil || n != 1 {
			return fmt.Errorf("a message had %d receivers: %w", n, errors.Join(err))
		}
	}
	return <-sent
}

func (f *redisFlood) cut() error {
	fmt.Fprintf(f.conn, "CLIENT KILL TYPE pubsub\r\n")
	if n, err := f.number(); err != nil || n != 1 {
		return fmt.Errorf("%d connections were broken, not 1: %w", n, errors.Join(err))
	}
	return f.ready()
}

func (f *redisFlood) stop() {
	f.conn.Close()
	f.server.Kill()
}

//go:embed testdata/zmq.py
var zmqPeer string

// python is Debian's, for which make setup installs libraries.
const python = "/usr/bin/python3"

// zmqFlood is a publisher in Python.
type zmqFlood struct {
	port int
	cmd  *exec.Cmd
	word io.Writer
	says *bufio.Reader
}

func (f *zmqFlood) table() string {
	return fmt.Sprintf("[[collector.zmq]]\nsub = {connect = [\"tcp://127.0.0.1:%d\"], topics = [\"\"]}\n", f.port)
}

func (f *zmqFlood) breaks() string { return ` fanin: BREAK n=(\d+) unit=connections socket=SUB` }

// zmqProgram is the peer in Python, if this machine can run it.
func zmqProgram(args ...any) (*exec.Cmd, error) {
	if err := exec.Command(python, "-c", "import zmq").Run(); err != nil {
		return nil, fmt.Errorf("%w: python3-zmq is not installed", ErrUnable)
	}
	c := exec.Command(python, "-c", zmqPeer)
	for _, a := range args {
		c.Args = append(c.Args, fmt.Sprint(a))
	}
	return c, nil
}

func (f *zmqFlood) start(string) (err error) {
	if f.port, err = rig.FreePort(); err != nil {
		return err
	}
	if f.cmd, err = zmqProgram("publish", f.port); err != nil {
		return err
	}
	word, err := f.cmd.StdinPipe()
	if err != nil {
		return err
	}
	says, err := f.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	f.word, f.says = word, bufio.NewReader(says)
	return f.cmd.Start()
}

// ready waits for an answer.
func (f *zmqFlood) ready() error {
	line, err := f.says.ReadString('\n')
	if err == nil && line != "done\n" {
		err = fmt.Errorf("the publisher says %q", line)
	}
	return err
}

func (f *zmqFlood) publish(from, to int) error {
	fmt.Fprintf(f.word, "%d %d\n", from, to)
	return f.ready()
}

func (f *zmqFlood) cut() error {
	fmt.Fprintln(f.word, "break")
	return f.ready()
}

func (f *zmqFlood) stop() {
	f.cmd.Process.Kill()
	f.cmd.Wait()
}
