package journal

import (
	"os/exec"
	"syscall"
)

// dieWithUs makes the kernel kill the child when this process ends, however it ends.
func dieWithUs(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
