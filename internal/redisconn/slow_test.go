package redisconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlow: a network that needs a minute for a reply, or for commands, is no server that is
// away, but one that brings next to nothing is.
func TestSlow(t *testing.T) {
	const size = 1 << 20
	for name, row := range map[string]struct {
		chunk int           // bytes in
		pause time.Duration // this time
		ok    bool
	}{
		"slow":   {64 << 10, 3 * time.Second, true},
		"slower": {16 << 10, 3 * time.Second, false},
		"drops":  {1, time.Second, false},
	} {
		// with has f use a connection whose other side does move for each chunk.
		with := func(move func(theirs net.Conn) error, f func(*Conn) error) {
			mine, theirs := net.Pipe()
			conn, ended := newConn(&Client{}, mine, "slow"), make(chan struct{})
			go func() { // ends with the pipe
				defer close(ended)
				for move(theirs) == nil {
					time.Sleep(row.pause)
				}
			}()
			if err := f(conn); row.ok != (err == nil) || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			conn.Close()
			<-ended
		}
		synctest.Test(t, func(t *testing.T) {
			reply := strings.NewReader(fmt.Sprintf("$%d\r\n%s\r\n", size, strings.Repeat("x", size)))
			send := func(theirs net.Conn) error {
				_, err := io.CopyN(theirs, reply, int64(row.chunk))
				return err
			}
			with(send, func(c *Conn) error {
				c.pending = 1
				v, err := c.Receive(context.Background(), 0)
				if err == nil && len(v.Bytes()) != size {
					t.Errorf("%s: received %d bytes", name, len(v.Bytes()))
				}
				return err
			})
			receive := func(theirs net.Conn) error {
				_, err := io.CopyN(io.Discard, theirs, int64(row.chunk))
				return err
			}
			with(receive, func(c *Conn) error {
				c.Command("SET", "x", strings.Repeat("x", size))
				return c.Send(context.Background())
			})
		})
	}
}
