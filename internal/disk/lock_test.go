package disk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	write(t, path, "123456789 from an earlier boot")
	var d Disk
	first, err := d.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Lock(path) // another descriptor of the same process
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("(process %d)", os.Getpid())) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, want ErrLocked, the path and this process", err)
	}
	if got := content(t, path); got != fmt.Sprint(os.Getpid()) {
		t.Errorf("the lock names process %q", got)
	}
	first.Close()
	second, err := d.Lock(path)
	if err != nil {
		t.Fatalf("after it was let go: %v", err)
	}
	second.Close()
}

// heldBy names the lock that a second process, which is this test, shall hold.
const heldBy = "FANIN_TEST_LOCK"

func TestLockOfOtherProcess(t *testing.T) {
	if path := os.Getenv(heldBy); path != "" {
		hold(path)
	}
	path := filepath.Join(t.TempDir(), "lock")
	other := exec.Command(os.Args[0], "-test.run=^TestLockOfOtherProcess$")
	other.Env = append(os.Environ(), heldBy+"="+path)
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	var d Disk
	if _, err := d.Lock(path); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("(process %d)", other.Process.Pid)) {
		t.Errorf("%v, want ErrLocked and process %d", err, other.Process.Pid)
	}
	other.Process.Kill()
	other.Wait()
	f, err := d.Lock(path)
	if err != nil {
		t.Fatalf("its holder was killed: %v", err)
	}
	f.Close()
}

// hold is the other process: it ends by being killed, or with its parent.
func hold(path string) {
	var d Disk
	if _, err := d.Lock(path); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held")
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// TestLockBesideLocked: a process that only asks whether a lock is held does not keep another one from taking it.
func TestLockBesideLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	ctx, stop := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	asking.Go(func() { // ends by stop
		for ctx.Err() == nil {
			Locked(path)
		}
	})
	for range 200 {
		f, err := new(Disk).Lock(path)
		if err != nil {
			t.Error(err)
			break
		}
		f.Close()
	}
	stop()
	asking.Wait()
}
