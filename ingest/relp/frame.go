package relp

import (
	"bytes"
	"errors"
	"fmt"
)

// frame is one message of the protocol, in either direction:
//
//	TXNR SP COMMAND SP LEN [SP DATA] LF
//
//	TXNR     1 to 9 digits: numbers the frames of a session; 0 is a hint, which is not answered
//	COMMAND  1 to 32 letters
//	LEN      1 to 9 digits: bytes of DATA, which with its space is absent if LEN is 0
//
// (The RELP specification, https://www.rsyslog.com/doc/relp.html.) Some clients put the space
// before LF where LEN is 0, so it is allowed there.
type frame struct {
	number        uint32
	command, data []byte
}

const (
	maxDigits  = 9
	maxCommand = 32
	// headerSize is the most bytes that a frame has besides its data.
	headerSize = maxDigits + 1 + maxCommand + 1 + maxDigits + 1 + 1
)

var (
	errNoRELP = errors.New("the peer sent something other than RELP; a client of syslog over plain TCP " +
		"belongs to a [[collector.tcp]]")
	errCommand = fmt.Errorf("the command of a frame is not one of 1 to %d letters", maxCommand)
	errLength  = fmt.Errorf("the length of a frame is not a number of 1 to %d digits", maxDigits)
)

// parse reads the frame at the beginning of b. size is how many bytes it has in all, 0 if that is not known yet: b
// has the whole frame if it has that many.
func parse(b []byte) (f frame, size int, err error) {
	number, at, err := digits(b, 0, errNoRELP)
	if err != nil || at == len(b) {
		return f, 0, err
	}
	if b[at] != ' ' {
		return f, 0, errNoRELP
	}
	begin := at + 1
	at = begin
	for at < len(b) && at-begin < maxCommand && isLetter(b[at]) {
		at++
	}
	if at == len(b) {
		return f, 0, nil
	}
	if b[at] != ' ' || at == begin {
		return f, 0, errCommand
	}
	f = frame{number: uint32(number), command: b[begin:at]}
	length, at, err := digits(b, at+1, errLength)
	if err != nil || at == len(b) {
		return f, 0, err
	}
	return f.takeData(b, at, length)
}

// takeData reads what follows the length of a frame: b[at] is behind it.
func (f *frame) takeData(b []byte, at, length int) (frame, int, error) {
	switch {
	case b[at] == ' ':
		at++
	case length > 0 || b[at] != '\n':
		return *f, 0, errLength
	}
	end := at + length
	if end >= len(b) {
		return *f, end + 1, nil
	}
	if b[end] != '\n' {
		return *f, 0, fmt.Errorf("there is no newline where the %d bytes of frame %d end: its length is wrong",
			length, f.number)
	}
	f.data = b[at:end]
	return *f, end + 1, nil
}

// digits reads a number that begins at b[at]. It has ended where behind is not len(b).
func digits(b []byte, at int, wrong error) (n, behind int, err error) {
	begin := at
	for ; at < len(b) && '0' <= b[at] && b[at] <= '9'; at++ {
		if at-begin == maxDigits {
			return 0, at, wrong
		}
		n = 10*n + int(b[at]-'0')
	}
	if at == begin && at < len(b) {
		return 0, at, wrong
	}
	return n, at, nil
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// is reports whether the frame has this command.
func (f *frame) is(command string) bool { return string(f.command) == command }

// clientOffers reports whether the data of an open allows the session: it names no commands, or
// syslog is among them.
func clientOffers(data []byte) bool {
	for line := range bytes.Lines(data) {
		if list, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte("commands=")); ok {
			for _, name := range bytes.Split(list, []byte{','}) {
				if string(bytes.TrimSpace(name)) == "syslog" {
					return true
				}
			}
			return false
		}
	}
	return true
}
