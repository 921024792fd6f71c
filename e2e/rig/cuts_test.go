package rig

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"
)

// TestCuts: a network carries what it is given, nothing while it is hushed, and breaks what it is to break.
func TestCuts(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() { // ends with the listener
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go io.Copy(nc, nc) // ends with the connection
		}
	}()
	c, err := NewCuts(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dial := func() net.Conn {
		nc, err := net.Dial("tcp", c.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		nc.Write([]byte("hello\n"))
		return nc
	}
	answers := func(nc net.Conn, patience time.Duration) bool {
		nc.SetReadDeadline(time.Now().Add(patience))
		line, err := bufio.NewReader(nc).ReadString('\n')
		return err == nil && line == "hello\n"
	}
	const long, short = 10 * time.Second, 100 * time.Millisecond
	before := dial()
	if !answers(before, long) {
		t.Fatal("nothing is carried")
	}
	c.Hush()
	before.Write([]byte("hello\n"))
	meanwhile := dial()
	if answers(before, short) || answers(meanwhile, short) {
		t.Error("it carries something while it is hushed")
	}
	c.Heal()
	if !answers(before, long) || !answers(meanwhile, long) {
		t.Error("what was on its way does not arrive")
	}
	c.Refuse()
	if answers(before, long) || answers(dial(), long) {
		t.Error("a connection holds, or a new one is made, while it refuses")
	}
	c.Heal()
	after := dial()
	if !answers(after, long) {
		t.Error("nothing is carried when it was healed")
	}
	c.Cut()
	if answers(after, long) || !answers(dial(), long) {
		t.Error("a cut does not break a connection, or breaks new ones")
	}
}
