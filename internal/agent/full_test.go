package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanin/internal/daemon"
)

// smallDisk mounts a file system of a few mebibytes.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
	return dir
}

// fill fills a disk to the last byte with a file.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := bytes.Repeat([]byte("x"), 1<<20); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestStartsOnFullDisk: an agent that was killed when its spool filled the disk starts again, since only
// sending makes room.
func TestStartsOnFullDisk(t *testing.T) {
	m, addr := collect(t)
	full, dir := smallDisk(t), t.TempDir()
	s, _, err := check(t, dir, fmt.Sprintf("[agent]\nid = \"a\"\nstate = %q\nto = [\"tcp://%s\"]\n[[agent.file]]\npaths = [%q]\n",
		filepath.Join(full, "state"), addr, filepath.Join(dir, "*.log")))
	if err != nil {
		t.Fatal(err)
	}
	if err := start(s); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(full, "filler")
	fill(t, filler)
	write(t, filepath.Join(dir, "a.log"), "one\n")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, s, nil) }() // ends by stop
	for end := time.Now().Add(10 * time.Second); !strings.Contains(texts(m), "one\n") && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil || texts(m) != "one\n" {
		t.Errorf("%v; committed %q", err, texts(m))
	}
}

// TestRunOnFullDisk: a run whose disk is full of what an earlier one left sends that first.
func TestRunOnFullDisk(t *testing.T) {
	m, addr := collect(t)
	full, dir := smallDisk(t), t.TempDir()
	state := filepath.Join(full, "state")
	settings := func(to string) *settings {
		s, _, err := check(t, dir, fmt.Sprintf("[agent]\nid = \"a\"\nstate = %q\nto = [\"tcp://%s\"]\n[agent.stdin]\nwait = \"2s\"\n",
			state, to))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	j, err := newStdinJob(settings("127.0.0.1:1"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	j.run(ctx, strings.NewReader("left\n"))
	fill(t, filepath.Join(j.own.dir, "filler"))
	s := settings(addr)
	if _, err := newStdinJob(s, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("the disk is not full")
	}
	j, err = s.stdinJob(context.Background(), slog.New(slog.DiscardHandler))
	if err != nil || texts(m) != "left\n" {
		t.Fatalf("%v; committed %q", err, texts(m))
	}
	defer j.own.lock.Close()     // it lives until then, so its directory makes no room
	for err = nil; err == nil; { // files that were removed and are closed late still make room
		fill(t, filepath.Join(state, "filler"))
		_, err = s.stdinJob(context.Background(), slog.New(slog.DiscardHandler))
	}
	if daemon.Code(err) != daemon.ExitLater {
		t.Errorf("%v", err)
	}
}
