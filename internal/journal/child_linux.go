package journal

import (
	"os/exec"
	"syscall"
)

// dieWithUs makes the kernel kill the child when this process ends, however it ends. Signals for
// the process group, as from a terminal, are for this process only: it decides when the child ends.
func dieWithUs(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
