// Package toptest has a terminal for tests.
package toptest

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Terminal is a pseudo-terminal: Side is what a program has, and the methods are its user.
type Terminal struct {
	Side   *os.File
	master *os.File
	mu     sync.Mutex
	shown  []byte
}

// Open makes a terminal of 80 columns and 24 lines, which closes at the end of the test.
func Open(t testing.TB) *Terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("this machine gives no pseudo-terminal: %v", err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	side, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	x := &Terminal{Side: side, master: master}
	x.Resize(t, 80, 24)
	done := make(chan struct{})
	go x.read(done) // ends when the program's side is closed
	t.Cleanup(func() {
		side.Close()
		<-done
		master.Close()
	})
	return x
}

func (x *Terminal) read(done chan struct{}) {
	defer close(done)
	b := make([]byte, 64<<10)
	for {
		n, err := x.master.Read(b)
		x.mu.Lock()
		x.shown = append(x.shown, b[:n]...)
		x.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Shown is all that the program has written.
func (x *Terminal) Shown() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return string(x.shown)
}

// Press presses keys.
func (x *Terminal) Press(t testing.TB, keys string) {
	t.Helper()
	if _, err := x.master.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// Resize changes the size.
func (x *Terminal) Resize(t testing.TB, width, height uint16) {
	t.Helper()
	size := &unix.Winsize{Col: width, Row: height}
	if err := unix.IoctlSetWinsize(int(x.master.Fd()), unix.TIOCSWINSZ, size); err != nil {
		t.Fatal(err)
	}
}

// Modes are those that a program may change.
func (x *Terminal) Modes(t testing.TB) unix.Termios {
	t.Helper()
	modes, err := unix.IoctlGetTermios(int(x.master.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *modes
}
