// Package rig runs the built programs as an operator's machine would, and as its
// worst day would: it kills them at any moment and starts them again.
package rig

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Build builds both programs into dir, once, and returns their paths.
func Build(dir string) (collector, agent string, err error) {
	collector, agent = filepath.Join(dir, "fanin-collector"), filepath.Join(dir, "fanin-agent")
	for path, pkg := range map[string]string{collector: "fanin/cmd/collector", agent: "fanin/cmd/agent"} {
		c := exec.Command("go", "build", "-o", path, pkg)
		c.Dir = Root()
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return "", "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return collector, agent, nil
}

// Root is the directory of the module.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Process is one program that is started again and again.
type Process struct {
	Path string
	Args []string
	Env  []string
	Wait string // a line of stderr that begins so says that it runs; "" does not wait

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	output strings.Builder
	line   string
}

// Start starts the program and waits until it runs.
func (p *Process) Start() error {
	c := exec.Command(p.Path, p.Args...)
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
		if p.output.Len() < 1<<20 {
			p.output.WriteString(s.Text() + "\n")
		}
		if p.Wait != "" && strings.HasPrefix(s.Text(), p.Wait) {
			p.line = s.Text()
			once.Do(func() { close(running) })
		}
		p.mu.Unlock()
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

// FreePort finds a port that nobody listens on.
func FreePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// Collector is a collector with a configuration of its own.
type Collector struct {
	Process
	Log, State, Addr string
}

// NewCollector writes a configuration into dir: a log in logDir, one port for
// tcp and udp, and extra lines of the [collector.log] table.
func NewCollector(program, dir, logDir, logTable string) (*Collector, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	c := &Collector{Log: filepath.Join(logDir, "all.log"), State: filepath.Join(logDir, "state"), Addr: fmt.Sprintf("127.0.0.1:%d", port)}
	text := fmt.Sprintf("[collector]\nstate = %q\n[collector.log]\npath = %q\n%s\n[[collector.tcp]]\nlisten = %q\n[[collector.udp]]\nlisten = %q\n",
		c.State, c.Log, logTable, c.Addr, c.Addr)
	config := filepath.Join(dir, "collector.toml")
	if err := os.WriteFile(config, []byte(text), 0o640); err != nil {
		return nil, err
	}
	c.Process = Process{Path: program, Args: []string{"--config", config}, Wait: "writing "}
	return c, nil
}

// Ask sends a request to the control socket.
func (c *Collector) Ask(method, path string, into any) error {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(c.State, "control.sock"))
		}}}
	r, err := http.NewRequest(method, "http://collector"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	if err != nil || into == nil {
		return err
	}
	if s, ok := into.(*string); ok {
		*s = string(b)
		return nil
	}
	return json.Unmarshal(b, into)
}

// Verify runs the program's own check of its log.
func (c *Collector) Verify() error {
	out, err := exec.Command(c.Path, append([]string{"verify"}, c.Args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("verify: %w\n%s", err, out)
	}
	return nil
}

// Agent is an agent that follows patterns.
type Agent struct {
	Process
	State string
}

// NewAgent follows patterns and keeps its state in dir.
func NewAgent(program, dir, to, id string, patterns ...string) *Agent {
	a := &Agent{State: filepath.Join(dir, "agent-"+id)}
	a.Process = Process{Path: program, Args: append([]string{"--to", to, "--id", id, "--state", a.State}, patterns...)}
	return a
}

// FileStatus is one file in an agent's status.
type FileStatus struct {
	Path    string `json:"path"`
	Size    int64  `json:"size"`
	Acked   int64  `json:"acked"`
	Trouble string `json:"trouble"`
}

// Files asks the agent how far its files are acknowledged.
func (a *Agent) Files() ([]FileStatus, error) {
	conn, err := net.Dial("unix", filepath.Join(a.State, "control.sock"))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	var st struct{ Files []FileStatus }
	err = json.NewDecoder(conn).Decode(&st)
	return st.Files, err
}

var errBehind = errors.New("not everything is acknowledged")

// Drained waits until every file is acknowledged to its end, and that stays so
// over a few looks.
func (a *Agent) Drained(files int, patience time.Duration) error {
	calm := 0
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		list, err := a.Files()
		ok := err == nil && len(list) >= files
		for _, f := range list {
			ok = ok && f.Acked == f.Size
		}
		if calm++; !ok {
			calm = 0
		}
		if calm >= 3 {
			return nil
		}
	}
	list, err := a.Files()
	return fmt.Errorf("%w after %v: %v %+v\n%s", errBehind, patience, err, list, a.Output())
}
