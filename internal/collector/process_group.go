package collector

import (
	"context"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// ownGroup protects the command from a Ctrl-C at the terminal, so that it can finish. What
// it starts belongs to the same group, and can be ended with it.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// signalGroup ends a command that was not waited for yet, and its whole group.
func signalGroup(cmd *exec.Cmd, kill bool) {
	signal := syscall.SIGTERM
	if kill {
		signal = syscall.SIGKILL
	}
	syscall.Kill(-cmd.Process.Pid, signal)
}

// killAfter is how long a process group has between SIGTERM and SIGKILL.
const killAfter = 2 * time.Second

// bound ends the process group of a running command when the given time has passed since
// the end of ctx. The caller must call release when the command has ended or has done its
// work; release reports whether the command was killed.
func bound(ctx context.Context, cmd *exec.Cmd, within time.Duration) (release func() (killed bool)) {
	done := make(chan struct{})
	killed := false
	var watching sync.WaitGroup
	watching.Go(func() { // ends with release
		select {
		case <-ctx.Done():
		case <-done:
			return
		}
		for _, kill := range []bool{false, true} {
			select {
			case <-time.After(within):
			case <-done:
				return
			}
			killed, within = true, killAfter
			signalGroup(cmd, kill)
		}
	})
	return sync.OnceValue(func() bool {
		close(done)
		watching.Wait()
		if killed {
			signalGroup(cmd, true) // what is left of it
		}
		return killed
	})
}
