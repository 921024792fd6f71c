package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/e2e/rig"
)

// Queues that hand messages out: a line a message, one sender, four workers. Beside
// fanin's "hand out" they are measured with fewer lines, since they are slower.
// What they keep: ZeroMQ nothing, and nothing is acknowledged; beanstalkd in memory;
// JetStream in a file, not synced.
func (b *bench) queues() (list []subject) {
	for _, q := range []struct{ name, program string }{{"zeromq", "gcc"}, {"beanstalkd", "beanstalkd"}, {"jetstream", "nats-server"}} {
		if _, err := exec.LookPath(q.program); err != nil {
			fmt.Fprintf(os.Stderr, "%s is left out: %v\n", q.name, err)
			continue
		}
		list = append(list, subject{name: q.name})
	}
	return list
}

const queueWorkers = 4

// queue measures one of them.
func (b *bench) queue(s subject) (r sample, err error) {
	lines := b.lines / 16
	dir := filepath.Join(b.dir, "trial")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o750)); err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	port, err := rig.FreePort()
	if err != nil {
		return r, err
	}
	if s.name == "zeromq" {
		return b.zeromq(dir, port, lines)
	}
	args := map[string][]string{
		"beanstalkd": {"beanstalkd", "-l", "127.0.0.1", "-p", fmt.Sprint(port)},
		"jetstream":  {"nats-server", "-a", "127.0.0.1", "-p", fmt.Sprint(port), "-js", "-sd", dir},
	}[s.name]
	p, err := start(dir, nil, args...)
	if err != nil {
		return r, err
	}
	defer p.stop()
	if err := p.listening("tcp", port); err != nil {
		return r, err
	}
	w, err := prepare(s.name+"-work", address(port), lines)
	if err != nil {
		return r, err
	}
	h, err := prepare(s.name+"-send", address(port), lines)
	if err != nil {
		return r, err
	}
	cpu, begun := p.cpu(), time.Now()
	if err := errors.Join(w.begin(), h.begin()); err != nil {
		return r, err
	}
	if err := w.ready(); err != nil {
		return r, err
	}
	r.Seconds, r.Lines = time.Since(begun).Seconds(), lines
	r.CPU, r.Peak = p.cpu()-cpu, p.memory("VmHWM")
	return r, errors.Join(w.begin(), w.cmd.Wait(), h.end())
}

// eachLine gives so many lines.
func eachLine(lines int, do func(line []byte) error) error {
	b := newBlock(0)
	for lines > 0 {
		text, n := b.take(lines)
		for from, i := 0, 0; i < n; i++ {
			if err := do(text[from : b.ends[i]-1]); err != nil {
				return err
			}
			from = b.ends[i]
		}
		lines -= n
	}
	return nil
}

// beanstalkdSend puts jobs without waiting for each answer (protocol.txt of
// beanstalkd 1.12).
func beanstalkdSend(address string, lines int) error {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	if err := onWord(); err != nil {
		return err
	}
	var answers sync.WaitGroup
	answers.Go(func() { // ends with the last answer
		in := bufio.NewReaderSize(nc, 64<<10)
		for range lines {
			if _, err := in.ReadSlice('\n'); err != nil {
				return
			}
		}
	})
	out := bufio.NewWriterSize(nc, 64<<10)
	err = eachLine(lines, func(line []byte) error {
		fmt.Fprintf(out, "put 0 0 60 %d\r\n", len(line))
		out.Write(line)
		_, err := out.WriteString("\r\n")
		return err
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	answers.Wait()
	return onWord()
}

// beanstalkdWork reserves a hundred jobs at a time, and deletes them.
func beanstalkdWork(address string, lines int) error {
	var left atomic.Int64
	left.Store(int64(lines))
	done := make(chan struct{})
	if err := onWord(); err != nil {
		return err
	}
	for range queueWorkers {
		nc, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		go func() { // ends with the process
			in, out := bufio.NewReaderSize(nc, 64<<10), bufio.NewWriterSize(nc, 64<<10)
			const batch = 100
			for {
				for range batch {
					out.WriteString("reserve-with-timeout 0\r\n")
				}
				out.Flush()
				got := 0
				for range batch {
					head, err := in.ReadString('\n')
					if err != nil {
						return
					}
					if f := strings.Fields(head); len(f) == 3 { // RESERVED id bytes; else TIMED_OUT
						in.Discard(number(f[2]) + 2)
						fmt.Fprintf(out, "delete %s\r\n", f[1])
						got++
					}
				}
				out.Flush()
				for range got {
					in.ReadSlice('\n')
				}
				if had := left.Add(-int64(got)); got > 0 && had <= 0 && had+int64(got) > 0 {
					close(done)
				}
				if got == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		}()
	}
	<-done
	return onWord()
}

// jetstreamSend publishes into a work queue, 4,000 on their way at a time.
func jetstreamSend(address string, lines int) error {
	nc, err := nats.Connect("nats://" + address)
	if err != nil {
		return err
	}
	js, err := nc.JetStream(nats.PublishAsyncMaxPending(4000))
	if err != nil {
		return err
	}
	if err := onWord(); err != nil {
		return err
	}
	err = eachLine(lines, func(line []byte) error {
		_, err := js.PublishAsync("lines", line)
		return err
	})
	if err != nil {
		return err
	}
	<-js.PublishAsyncComplete()
	return onWord()
}

// jetstreamWork pulls a thousand lines at a time and acknowledges each.
func jetstreamWork(address string, lines int) error {
	nc, err := nats.Connect("nats://" + address)
	if err != nil {
		return err
	}
	js, err := nc.JetStream()
	if err != nil {
		return err
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "LINES", Subjects: []string{"lines"}, Retention: nats.WorkQueuePolicy, Storage: nats.FileStorage}); err != nil {
		return err
	}
	var left atomic.Int64
	left.Store(int64(lines))
	done := make(chan struct{})
	subs := make([]*nats.Subscription, queueWorkers)
	for i := range subs {
		if subs[i], err = js.PullSubscribe("lines", "workers", nats.MaxAckPending(20_000)); err != nil {
			return err
		}
	}
	if err := onWord(); err != nil {
		return err
	}
	for _, sub := range subs {
		go func() { // ends with the process
			for {
				messages, err := sub.Fetch(1000, nats.MaxWait(time.Second))
				if err != nil && !errors.Is(err, nats.ErrTimeout) {
					return
				}
				for _, m := range messages {
					m.Ack()
				}
				n := int64(len(messages))
				if had := left.Add(-n); n > 0 && had <= 0 && had+n > 0 {
					nc.Flush()
					close(done)
				}
			}
		}()
	}
	<-done
	return onWord()
}

// zeromq measures PUSH to PULL: one program in C pushes, four pull.
func (b *bench) zeromq(dir string, port, lines int) (r sample, err error) {
	program := filepath.Join(dir, "zeromq")
	source := filepath.Join(rig.Root(), "e2e", "bench", "testdata", "zeromq.c")
	if err := command(dir, "gcc", "-O2", "-o", program, source, "-lzmq"); err != nil {
		return r, err
	}
	endpoint := fmt.Sprintf("tcp://127.0.0.1:%d", port)
	push := exec.Command(program, "push", endpoint, fmt.Sprint(lines))
	in, err := push.StdinPipe()
	if err != nil {
		return r, err
	}
	said, err := push.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := push.Start(); err != nil {
		return r, err
	}
	var pulls []*exec.Cmd
	for range queueWorkers {
		c := exec.Command(program, "pull", endpoint, "0")
		if err := c.Start(); err != nil {
			return r, err
		}
		pulls = append(pulls, c)
	}
	if _, err := io.ReadFull(said, make([]byte, 1)); err != nil { // all four are there
		return r, err
	}
	begun := time.Now()
	in.Write([]byte{'\n'})
	for _, c := range pulls {
		if err := c.Wait(); err != nil {
			return r, fmt.Errorf("pull: %w", err)
		}
	}
	r.Seconds, r.Lines = time.Since(begun).Seconds(), lines
	in.Close()
	err = push.Wait()
	r.CPU = (push.ProcessState.UserTime() + push.ProcessState.SystemTime()).Seconds()
	return r, err
}
