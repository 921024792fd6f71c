package unixsock

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/retry"
)

// maxDatagram is more than a process can send by default (net.core.wmem_max is 208 KiB).
const maxDatagram = 1 << 20

// counts is what a socket counts.
type counts struct {
	messages, truncated, refused atomic.Uint64
	open                         atomic.Int64
}

// Counts are the socket's counters by name.
func (s *Socket) Counts() map[string]uint64 {
	return map[string]uint64{
		"unix_messages": s.counts.messages.Load(), "unix_truncated_messages": s.counts.truncated.Load(),
		"unix_refused_connections": s.counts.refused.Load(), "unix_connections": uint64(s.counts.open.Load()),
	}
}

// datagrams receives datagrams until ctx ends, and then those that are there.
func (s *Socket) datagrams(ctx, taking context.Context) {
	block, control := make([]byte, maxDatagram), make([]byte, controlSize)
	line := make([]byte, 0, 4<<10)
	for {
		conn, _ := s.listening()
		n, c, flags, _, err := conn.ReadMsgUnix(block, control)
		if err != nil {
			if !s.goesOn(ctx, err) {
				return
			}
			continue
		}
		if truncated(flags) {
			s.counts.truncated.Add(1)
			s.limited.Warn("truncated", "a datagram was larger than 1 MiB, and its end is lost", "path", s.Path)
		}
		line, err = s.take(taking, line, block[:n], senderOf(control[:c]))
		if err != nil {
			return
		}
		if s.draining.Load() {
			conn.SetReadDeadline(time.Now().Add(acceptFor)) // more may be left
		}
	}
}

// goesOn reports whether to receive on after an error.
func (s *Socket) goesOn(ctx context.Context, err error) bool {
	switch {
	case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
		return false
	case errors.Is(err, os.ErrDeadlineExceeded): // see watch
		return s.again(ctx)
	}
	s.limited.Error("receive", "cannot receive from the socket; trying again", "path", s.Path, "err", err)
	return retry.Pause(ctx, time.Second) == nil
}

// take takes one message of a process. line is memory for it.
func (s *Socket) take(ctx context.Context, line, b []byte, pid int) ([]byte, error) {
	b = bytes.TrimRight(b, "\x00\n")
	if len(b) == 0 {
		return line, nil
	}
	m := s.parse(b)
	return s.append(ctx, append(line[:0], m.text...), m, pid)
}

func (s *Socket) parse(b []byte) message {
	if s.Plain {
		return message{text: b}
	}
	return parse(b)
}

// append takes a message, which is a line unless it has newlines.
func (s *Socket) append(ctx context.Context, text []byte, m message, pid int) ([]byte, error) {
	if pid <= 0 { // of a process that this one cannot see, such as one in another container
		pid = m.pid
	}
	s.counts.messages.Add(1)
	if bytes.IndexByte(text, '\n') >= 0 {
		return text, s.Lines.AppendRecord(ctx, text, s.source(m.tag, pid))
	}
	text = append(text, '\n')
	return text, s.Lines.Append(ctx, text, s.source(m.tag, pid))
}

// accept accepts connections until ctx ends, and then waits for what they sent.
func (s *Socket) accept(ctx, taking context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		_, ln := s.listening()
		c, err := ln.AcceptUnix()
		if err != nil {
			if !s.goesOn(ctx, err) {
				return
			}
			continue
		}
		if !s.admit(c) {
			s.counts.refused.Add(1)
			s.limited.Warn("conns", "too many connections to the socket: one was closed; "+
				"raise max_conns if they are wanted", "path", s.Path, "max_conns", s.MaxConns)
			c.Close()
			continue
		}
		if ctx.Err() != nil {
			c.CloseRead()
		}
		all.Go(func() { // ends with the connection, or by drain
			defer s.leave(c)
			x := connection{s: s, c: c, pid: peerOf(c)}
			defer x.newBlock()()
			x.receive(taking)
		})
	}
}

func (s *Socket) admit(c *net.UnixConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= s.MaxConns {
		return false
	}
	s.conns[c] = true
	s.counts.open.Store(int64(len(s.conns)))
	return true
}

func (s *Socket) leave(c *net.UnixConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.counts.open.Store(int64(len(s.conns)))
	c.Close()
}
