// Package relptest has a client of RELP, for tests and trials.
package relptest

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Client behaves as librelp does: it holds a message until its answer was read, and sends those
// that it holds again behind the next open.
type Client struct {
	Address string
	Window  int             // so many messages may be without an answer
	Timeout time.Duration   // for a session; default: a minute
	Dial    func() net.Conn // instead of a connection to Address

	Conn   net.Conn
	Number int      // of the last frame
	Held   []string // messages without an answer, in order
	first  int      // number of the first of them
	r      *bufio.Reader
}

// Open connects, opens a session, and sends what is held again.
func (c *Client) Open() (err error) {
	if c.Dial != nil {
		c.Conn = c.Dial()
	} else if c.Conn, err = net.Dial("tcp", c.Address); err != nil {
		return err
	}
	c.Conn.SetDeadline(time.Now().Add(cmp.Or(c.Timeout, time.Minute)))
	c.r, c.Number = bufio.NewReader(c.Conn), 0
	err = c.Write("open", "relp_version=0\nrelp_software=test\ncommands=syslog")
	if err == nil {
		var text string
		if _, text, err = c.Read(); err == nil && !strings.HasPrefix(text, "200 OK\n") {
			err = errors.New(text)
		}
	}
	c.first = c.Number + 1
	for _, text := range c.Held {
		err = errors.Join(err, c.Write("syslog", text))
	}
	return err
}

func (c *Client) Write(command, data string) error {
	c.Number++
	text := fmt.Sprintf("%d %s %d", c.Number, command, len(data))
	if data != "" {
		text += " " + data
	}
	_, err := io.WriteString(c.Conn, text+"\n")
	return err
}

// Read reads one answer.
func (c *Client) Read() (number int, text string, err error) {
	head := make([]string, 2)
	for i := range head {
		if head[i], err = c.r.ReadString(' '); err != nil {
			return 0, "", err
		}
	}
	number, _ = strconv.Atoi(strings.TrimSpace(head[0]))
	size, end := 0, byte(0)
	for {
		if end, err = c.r.ReadByte(); err != nil || end < '0' || end > '9' {
			break
		}
		size = 10*size + int(end-'0')
	}
	if err == nil && head[1] == "serverclose " {
		return number, "", ErrServerClose
	}
	b := make([]byte, size)
	if end == ' ' && err == nil {
		_, err = io.ReadFull(c.r, b)
		c.r.ReadByte()
	}
	return number, string(b), err
}

var ErrServerClose = errors.New("the server closes the session")

// Answer reads the answer to the first message that is held.
func (c *Client) Answer() error {
	number, text, err := c.Read()
	if err == nil && (number != c.first || text != "200 OK") {
		err = fmt.Errorf("the answer to %d is %d %q", c.first, number, text)
	}
	if err == nil {
		c.Held, c.first = c.Held[1:], c.first+1
	}
	return err
}

// Send sends messages, and reads answers where the window is full. After an error the message is held,
// too.
func (c *Client) Send(all ...string) error {
	for _, text := range all {
		var err error
		for len(c.Held) >= c.Window && err == nil {
			err = c.Answer()
		}
		if c.Held = append(c.Held, text); err != nil {
			return err
		}
		if err := c.Write("syslog", text); err != nil {
			return err
		}
	}
	return nil
}

// Settle reads all answers.
func (c *Client) Settle() error {
	for len(c.Held) > 0 {
		if err := c.Answer(); err != nil {
			return err
		}
	}
	return nil
}

// Cut breaks the session as librelp does, with a reset: what was answered and not read is gone.
func (c *Client) Cut() {
	if tc, ok := c.Conn.(*net.TCPConn); ok {
		tc.SetLinger(0)
	}
	c.Conn.Close()
}

// Close ends the session in order.
func (c *Client) Close() error {
	err := errors.Join(c.Settle(), c.Write("close", ""))
	if err == nil {
		_, _, err = c.Read()
	}
	return errors.Join(err, c.Conn.Close())
}
