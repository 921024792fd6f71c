package journal

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// child is one run of journalctl, which prints entries until it is stopped.
type child struct {
	cmd    *exec.Cmd
	out    io.ReadCloser
	errors tailWriter
}

// arguments are those of a run that prints all entries from a place on, and then those that
// are added. Without merge, a run that follows leaves out earlier boots.
func arguments(directory, cursor string, fields []string) []string {
	args := []string{"--output=export", "--follow", "--merge", "--lines=all", "--no-tail", "--no-pager", "--quiet",
		"--output-fields=" + strings.Join(fields, ",")}
	if directory != "" {
		args = append(args, "--directory="+directory)
	}
	if cursor != "" {
		args = append(args, "--cursor="+cursor)
	}
	return args
}

// start starts journalctl.
func start(ctx context.Context, args []string) (*child, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, errMissing
	}
	c := &child{cmd: exec.CommandContext(ctx, path, args...)}
	c.cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_COLORS=0")
	c.cmd.Stderr = &c.errors
	c.cmd.WaitDelay = 5 * time.Second
	dieWithUs(c.cmd)
	if c.out, err = c.cmd.StdoutPipe(); err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start journalctl: %w", err)
	}
	return c, nil
}

// stop ends the run, if it has not ended by itself, and returns what its end means.
func (c *child) stop() error {
	c.cmd.Process.Kill()
	err := c.cmd.Wait()
	if text := c.errors.last(); text != "" {
		return fmt.Errorf("journalctl: %s", text)
	}
	if err == nil {
		err = errors.New("it ended")
	}
	return fmt.Errorf("journalctl: %w", err)
}

// tailWriter holds the end of what is written to it.
type tailWriter struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 2 << 10

// Write never fails.
func (w *tailWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	w.text = w.text[max(0, len(w.text)-tailBytes):]
	return len(p), nil
}

// last is the last line.
func (w *tailWriter) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := bytes.TrimSpace(w.text)
	return string(text[bytes.LastIndexByte(text, '\n')+1:])
}

// program is the name of journalctl.
const program = "journalctl"

// oldest is the oldest release of systemd whose journalctl is used: it has --output-fields.
const oldest = 239

// ErrUnusable is matched by errors of Check that do not go away by themselves.
var ErrUnusable = errors.New("the journal cannot be read")

var (
	errMissing = fmt.Errorf("%w: there is no journalctl in PATH. It is part of systemd: install it; or, in a "+
		"container, use an image that has it (docs/kubernetes.md); or remove [agent.journal]", ErrUnusable)
	errOld = fmt.Errorf("%w: want journalctl of systemd %d or later: use a newer one, or remove [agent.journal]",
		ErrUnusable, oldest)
)

// CheckRead returns why a journal cannot be read: that of a directory, or this machine's.
func CheckRead(ctx context.Context, directory string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err := newest(ctx, directory)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	if strings.Contains(err.Error(), "permission") {
		err = fmt.Errorf("%w (add the agent's user to the group systemd-journal)", err)
	}
	return err
}

// Check returns why the journalctl of this machine cannot be used.
func Check(ctx context.Context) error {
	path, err := exec.LookPath(program)
	if err != nil {
		return errMissing
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, path, "--version")
	c.WaitDelay = time.Second
	out, err := c.Output()
	if err = cmp.Or(ctx.Err(), err); err != nil {
		return fmt.Errorf("%s --version: %w", path, err)
	}
	words := strings.Fields(string(out[:min(len(out), 200)]))
	if len(words) < 2 || words[0] != "systemd" {
		return fmt.Errorf("%w: %s --version printed %.80q: it is not the journalctl of systemd", ErrUnusable, path, out)
	}
	digits := words[1]
	if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = digits[:end]
	}
	if version, err := strconv.Atoi(digits); err != nil || version < oldest {
		return fmt.Errorf("%s is of systemd %.20q: %w", path, words[1], errOld)
	}
	return nil
}
