package top

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Terminal is a terminal with a keyboard.
type Terminal struct {
	in, out       *os.File
	saved         *unix.Termios
	width, height int // as drawn last
}

// Open returns the terminal of two files; an error if they are none.
func Open(in, out *os.File) (*Terminal, error) {
	for _, f := range []*os.File{in, out} {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
			return nil, err
		}
	}
	return &Terminal{in: in, out: out}, nil
}

// begin makes keys come one by one, unseen, and Ctrl-C and Ctrl-Z as keys, so that nothing ends
// or stops the program before the terminal is as it was.
func (t *Terminal) begin() error {
	saved, err := unix.IoctlGetTermios(int(t.in.Fd()), unix.TCGETS)
	if err != nil {
		return err
	}
	raw := *saved
	raw.Lflag &^= unix.ICANON | unix.ECHO | unix.ISIG | unix.IEXTEN
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(t.in.Fd()), unix.TCSETS, &raw); err != nil {
		return err
	}
	t.saved = saved
	_, err = io.WriteString(t.out, enter)
	return err
}

// end makes the terminal what it was.
func (t *Terminal) end() {
	io.WriteString(t.out, leave)
	unix.IoctlSetTermios(int(t.in.Fd()), unix.TCSETSF, t.saved)
}

// size is that of the terminal; 80 columns and 24 lines where it does not know it.
func (t *Terminal) size() (width, height int) {
	t.width, t.height = t.measure()
	return t.width, t.height
}

func (t *Terminal) measure() (width, height int) {
	w, err := unix.IoctlGetWinsize(int(t.out.Fd()), unix.TIOCGWINSZ)
	if err != nil || w.Col == 0 || w.Row == 0 {
		return 80, 24
	}
	return int(w.Col), int(w.Row)
}

// resized reports whether the size is another one than drawn.
func (t *Terminal) resized() bool {
	width, height := t.measure()
	return width != t.width || height != t.height
}

func (t *Terminal) draw(lines []Line) { io.WriteString(t.out, paint(lines, t.height)) }

// key waits for a key; 0: there was none in time. The error is that the terminal is gone.
func (t *Terminal) key(wait time.Duration) (byte, error) {
	fds := []unix.PollFd{{Fd: int32(t.in.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(max(wait, 0).Milliseconds())+1)
	if errors.Is(err, unix.EINTR) || err == nil && n == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var b [1]byte
	if n, err := unix.Read(int(t.in.Fd()), b[:]); err != nil || n == 0 {
		return 0, io.EOF
	}
	return b[0], nil
}
