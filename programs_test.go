package fanin_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take on a busy machine.
const patience = 30 * time.Second

var built bool

// programs builds both programs, statically, and returns their directory.
var programs = sync.OnceValues(func() (string, error) {
	built = true
	dir, err := os.MkdirTemp("", "fanin-programs-")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"collector", "agent"} {
		c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "fanin-"+name), "./cmd/"+name)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return dir, fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built {
		dir, _ := programs()
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func programDir(t *testing.T) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// process is a program that runs until the test ends.
type process struct {
	*exec.Cmd
	t      *testing.T
	lines  chan string // of stderr, while a caller may still wait for one
	mu     sync.Mutex
	stderr bytes.Buffer
	exited chan struct{}
}

// start starts c, which the end of the test stops.
func start(t *testing.T, c *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: c, t: t, lines: make(chan string, 10_000), exited: make(chan struct{})}
	pipe, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		for in := bufio.NewScanner(pipe); in.Scan(); {
			p.mu.Lock()
			fmt.Fprintln(&p.stderr, in.Text())
			p.mu.Unlock()
			p.lines <- in.Text()
		}
		c.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		c.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(c.Path), p.said())
		}
	})
	return p
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// wait waits for a line on stderr and returns what the pattern's group matched.
func (p *process) wait(pattern string) string {
	p.t.Helper()
	want, late := regexp.MustCompile(pattern), time.After(patience)
	for {
		select {
		case line := <-p.lines:
			if m := want.FindStringSubmatch(line); m != nil {
				return m[len(m)-1]
			}
		case <-p.exited:
			p.t.Fatalf("%s ended (%v) without saying %q", p.Path, p.ProcessState, pattern)
		case <-late:
			p.t.Fatalf("%s did not say %q", p.Path, pattern)
		}
	}
}

// stop asks the program to leave, and wants it to leave well.
func (p *process) stop() {
	p.t.Helper()
	p.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Fatalf("%s does not stop", p.Path)
	}
	if code := p.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("%s: exit %d after SIGTERM", p.Path, code)
	}
}

// awaitLine waits until a line of the file contains text.
func awaitLine(t *testing.T, path, text string) string {
	t.Helper()
	for late := time.Now().Add(patience); time.Now().Before(late); time.Sleep(5 * time.Millisecond) { // files have no event to wait for
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				return line
			}
		}
	}
	t.Fatalf("no line with %q in %s", text, path)
	return ""
}

// blocks returns the marked sh blocks of a document, each from the line of its
// marker "<!-- MARK -->" and with its shell.
func blocks(t *testing.T, path, mark string) (list []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- " + mark + " -->\n```sh\n(.*?)```")
	for _, m := range block.FindAllStringSubmatch(string(b), -1) {
		list = append(list, m[1])
	}
	if len(list) == 0 {
		t.Fatalf("%s has no block marked <!-- %s -->", path, mark)
	}
	return list
}

// shell runs a document's block in dir, as a reader would paste it.
func shell(t *testing.T, dir, script string, env ...string) (string, error) {
	t.Helper()
	c := exec.Command("bash", "-euo", "pipefail", "-c", script)
	c.Dir = dir
	c.Env = append(os.Environ(), "PATH="+programDir(t)+":"+os.Getenv("PATH"), "HOME="+dir)
	c.Env = append(c.Env, env...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	file, err := os.Create(filepath.Join(t.TempDir(), "output")) // a file: what stays in the background holds no pipe
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c.Stdout, c.Stderr = file, file
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // what the block left in the background
	late := time.AfterFunc(2*patience, func() { syscall.Kill(-c.Process.Pid, syscall.SIGKILL) })
	defer late.Stop()
	err = c.Wait()
	b, _ := os.ReadFile(file.Name())
	return string(b), err
}
