package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program under measurement.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	exited chan struct{}
}

// start starts a program in a directory, with room for many connections.
func start(dir string, env []string, args ...string) (*process, error) {
	return startFrom(nil, dir, env, args...)
}

// startFrom is start with an input, if there is one.
func startFrom(in *os.File, dir string, env []string, args ...string) (*process, error) {
	p := &process{exited: make(chan struct{})}
	p.cmd = exec.Command("sh", append([]string{"-c", `ulimit -n 65536 2>/dev/null; exec "$@"`, "sh"}, args...)...)
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = dir, append(os.Environ(), env...), &p.stderr
	if in != nil {
		p.cmd.Stdin = in
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process
		p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop asks the program to end, and insists after a while.
func (p *process) stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
		return nil
	case <-time.After(40 * time.Second):
		p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s did not end when asked to", filepath.Base(p.cmd.Args[4]))
	}
}

func (p *process) failed(err error) error {
	return fmt.Errorf("%w\n%s", err, p.stderr.Bytes())
}

// clockTick is USER_HZ, which is 100 wherever Go runs on Linux.
const clockTick = 100

// family is the program and the children that it has now.
func (p *process) family() []int {
	list := []int{p.pid()}
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.pid()))
	for child := range strings.FieldsSeq(string(b)) {
		list = append(list, number(child))
	}
	return list
}

// cpu is the CPU time of all threads of the program so far, in seconds, and of its
// children, those that ended included.
func (p *process) cpu() (seconds float64) {
	for _, pid := range p.family() {
		seconds += cpuOf(pid)
	}
	return seconds
}

// cpuOf is the CPU time of one process, and of its children that ended.
func cpuOf(pid int) (seconds float64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		ticks, _ := strconv.ParseFloat(field, 64)
		seconds += ticks / clockTick
	}
	return seconds
}

// memory is a line of the program's status, VmRSS or VmHWM, in MiB, its children's added.
func (p *process) memory(name string) (mib float64) {
	for _, pid := range p.family() {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		kib, _ := strconv.ParseFloat(strings.TrimSuffix(field(string(b), name), " kB"), 64)
		mib += kib / 1024
	}
	return mib
}

// listening waits until a process listens on the port. Asking the kernel, not the
// port, leaves a program that takes one connection alone.
func (p *process) listening(network string, port int) error {
	want, state := fmt.Sprintf("%04X", port), " 0A "
	if network == "udp" {
		state = " 07 "
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, table := range []string{network, network + "6"} {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", p.pid(), table)) // its namespace may be another one
			for line := range strings.Lines(string(b)) {
				fields := strings.Fields(line)
				if len(fields) > 3 && strings.HasSuffix(fields[1], ":"+want) && " "+fields[3]+" " == state {
					return nil
				}
			}
		}
		select {
		case <-p.exited:
			return p.failed(fmt.Errorf("%v ended at once", p.cmd.Args[4:]))
		default:
		}
	}
	return p.failed(fmt.Errorf("%v does not listen on %s port %d", p.cmd.Args[4:], network, port))
}

// helper is a role of this program, prepared and waiting for the word.
type helper struct {
	cmd  *exec.Cmd
	word io.WriteCloser
	says io.Reader
}

func prepare(args ...any) (*helper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return prepareProgram(self, append([]any{"-role"}, args...)...)
}

// prepareProgram prepares another program that keeps to the words of a role.
func prepareProgram(program string, args ...any) (h *helper, err error) {
	h = &helper{cmd: exec.Command(program)}
	for _, a := range args {
		h.cmd.Args = append(h.cmd.Args, fmt.Sprint(a))
	}
	h.cmd.Stderr = os.Stderr
	if h.word, err = h.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if h.says, err = h.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	return h, h.ready()
}

// ready waits until the helper is.
func (h *helper) ready() error {
	if _, err := io.ReadFull(h.says, make([]byte, len("ready\n"))); err != nil {
		return fmt.Errorf("%v: %w", h.cmd.Args[1:], errors.Join(err, h.cmd.Wait()))
	}
	return nil
}

// begin gives the word.
func (h *helper) begin() error {
	_, err := io.WriteString(h.word, "go\n")
	return err
}

// end lets the helper go when it is through.
func (h *helper) end() error {
	if err := errors.Join(h.ready(), h.begin()); err != nil {
		return err
	}
	return h.cmd.Wait()
}
