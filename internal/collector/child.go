package collector

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// child is a command that keeps running and answers each line.
type child struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stdout  *os.File
	answers *bufio.Reader
	exited  chan struct{}
	err     error // how it ended, good to read when exited is closed
}

// longestAnswer bounds a line of a command.
const longestAnswer = 64 << 10

func startChild(cmd *exec.Cmd, errs io.Writer) (*child, error) {
	stdout, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	c := &child{cmd: cmd, stdout: stdout, answers: bufio.NewReaderSize(stdout, longestAnswer),
		exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = w, errs
	if c.stdin, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		stdout.Close()
		return nil, err
	}
	go func() { // ends with the command
		c.err = cmd.Wait()
		stdout.SetReadDeadline(time.Now().Add(leftBehind)) // a child may hold the other end
		close(c.exited)
	}()
	return c, nil
}

// feed writes lines to the command until in is closed. A write ends when the command's
// input is closed.
func (c *child) feed(in <-chan []byte) {
	for line := range in {
		c.stdin.Write(line) // the command's answer, or its end, reports what went wrong
	}
}

// word reads one line from the command; io.EOF: it ended.
func (c *child) word() (string, error) {
	line, err := c.answers.ReadSlice('\n')
	switch {
	case err == nil:
		return string(bytes.TrimSpace(line)), nil
	case errors.Is(err, bufio.ErrBufferFull):
		return string(line[:40]) + "...",
			fmt.Errorf("the command wrote more than %d bytes without a newline to its standard output", longestAnswer)
	}
	return string(line), io.EOF
}

// answer reads the command's answer to one line. After an error it must get no more lines.
func (c *child) answer() (ok bool, reason string, err error) {
	text, err := c.word()
	if err != nil {
		return false, "", err
	}
	word, reason, _ := strings.Cut(text, " ")
	switch {
	case strings.EqualFold(text, "ok"):
		return true, "", nil
	case strings.EqualFold(word, "fail"):
		return false, strings.TrimSpace(reason), nil
	}
	return false, "", fmt.Errorf("the command answered %.200q, and not \"ok\" or \"fail REASON\"", text)
}

// end closes the command's input, waits for the given time, and then ends its process
// group.
func (c *child) end(within time.Duration) error {
	c.stdin.Close()
	select {
	case <-c.exited:
	case <-time.After(within):
		signalGroup(c.cmd, false)
		select {
		case <-c.exited:
		case <-time.After(killAfter):
		}
		signalGroup(c.cmd, true) // and what is left of it
		<-c.exited
	}
	c.stdout.Close()
	if c.err == nil || errors.Is(c.err, exec.ErrWaitDelay) {
		return errors.New("exit status 0")
	}
	return c.err
}

// hasOutput waits until the command has written something or closed its output.
func (c *child) hasOutput(within time.Duration) (wrote, ended bool) {
	if c.answers.Buffered() > 0 {
		return true, false
	}
	raw, err := c.stdout.SyscallConn()
	if err != nil {
		return false, false
	}
	end := time.Now().Add(within)
	raw.Control(func(fd uintptr) {
		for {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(poll, int(max(0, time.Until(end)).Milliseconds()))
			if err == unix.EINTR {
				continue
			}
			wrote = n > 0 && poll[0].Revents&unix.POLLIN != 0
			ended = n > 0 && !wrote
			return
		}
	})
	return wrote, ended
}
