package rig

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is one program that is started again and again.
type Process struct {
	Path        string
	Args        []string
	Env         []string
	Wait        string   // a line of stderr that begins so says that it runs; "" does not wait
	Descriptors int      // how many it may have open; 0: as many as this program
	Under       []string // a program and its first arguments, which runs this one; nil: none

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	output strings.Builder
}

// Start starts the program and waits until it runs.
func (p *Process) Start() error {
	args := slices.Concat(p.Under, []string{p.Path}, p.Args)
	if p.Descriptors > 0 {
		args = append([]string{"/bin/sh", "-c", `ulimit -n "$0" && exec "$@"`, strconv.Itoa(p.Descriptors)}, args...)
	}
	c := exec.Command(args[0], args[1:]...)
	c.Env = append(os.Environ(), p.Env...)
	pipe, err := c.StderrPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	running, exited := make(chan struct{}), make(chan struct{})
	p.mu.Lock()
	p.cmd, p.exited = c, exited
	p.mu.Unlock()
	go p.read(c, pipe, running, exited) // ends with the process
	if p.Wait == "" {
		return nil
	}
	select {
	case <-running:
		return nil
	case <-exited:
		return fmt.Errorf("%s ended at once:\n%s", filepath.Base(p.Path), p.Output())
	case <-time.After(30 * time.Second):
		p.Kill()
		return fmt.Errorf("%s did not start in 30 s:\n%s", filepath.Base(p.Path), p.Output())
	}
}

func (p *Process) read(c *exec.Cmd, pipe io.Reader, running, exited chan struct{}) {
	var once sync.Once
	s := bufio.NewScanner(pipe)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		p.mu.Lock()
		if p.output.Len() < 4<<20 {
			p.output.WriteString(s.Text() + "\n")
		}
		p.mu.Unlock()
		if p.Wait != "" && strings.HasPrefix(s.Text(), p.Wait) {
			once.Do(func() { close(running) })
		}
	}
	c.Wait()
	close(exited)
}

// Output is what the program wrote to stderr in all its lives.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// Signal sends a signal; a process that is gone is no error.
func (p *Process) Signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		p.cmd.Process.Signal(sig)
	}
}

// Pause stops the program's breath, as the function does.
func (p *Process) Pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		Pause(p.cmd.Process)
	}
}

// Pause stops a process's breath, and returns when it is stopped: a thread in the kernel goes
// on after the signal until it comes out. SIGCONT ends it.
func Pause(p *os.Process) {
	p.Signal(syscall.SIGSTOP)
	for end := time.Now().Add(5 * time.Second); !stopped(p.Pid) && time.Now().Before(end); {
		time.Sleep(100 * time.Microsecond)
	}
}

// stopped reports whether all threads are, as Linux tells; elsewhere nothing does.
func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, t := range threads {
		b, err := os.ReadFile(t)
		_, state, ok := strings.Cut(string(b), ") ")
		if err == nil && ok && !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

// Kill kills the program as a crash would, and waits until it is gone.
func (p *Process) Kill() { p.end(syscall.SIGKILL, 10*time.Second) }

// Stop asks the program to end and returns its exit code.
func (p *Process) Stop() (int, error) { return p.end(syscall.SIGTERM, 40*time.Second) }

func (p *Process) end(sig syscall.Signal, patience time.Duration) (int, error) {
	p.mu.Lock()
	c, exited := p.cmd, p.exited
	p.mu.Unlock()
	if c == nil {
		return 0, nil
	}
	c.Process.Signal(sig)
	select {
	case <-exited:
	case <-time.After(patience):
		c.Process.Kill()
		<-exited
		return 0, fmt.Errorf("%s did not end after %v", filepath.Base(p.Path), sig)
	}
	p.mu.Lock()
	p.cmd = nil
	p.mu.Unlock()
	return c.ProcessState.ExitCode(), nil
}

// PID is the process's id, 0 when it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}
