package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
)

// role runs one of the small programs that the bench starts beside itself, so
// that their CPU time is theirs alone.
func role(args []string) error {
	switch args[0] {
	case "send":
		return sendLines(args[1], number(args[2]), number(args[3]), newBlock)
	case "story":
		return sendLines(args[1], number(args[2]), number(args[3]), storyBlock)
	case "history":
		return makeHistory(args[1], number(args[2]), number(args[3]))
	case "relp-send":
		return relpSend(args[1], number(args[2]), number(args[3]))
	case "datagrams":
		return sendDatagrams(args[1], number(args[2]), number(args[3]), newBlock(0))
	case "syslog":
		return sendLines(args[1], number(args[2]), number(args[3]), syslogBlock(args[4]))
	case "syslog-datagrams":
		return sendDatagrams(args[1], number(args[2]), number(args[3]), syslogBlock(args[4])(0))
	case "gelf-datagrams":
		return sendDatagrams(args[1], number(args[2]), number(args[3]), gelfBlock())
	case "work":
		return takeLines(args[1], args[2], number(args[3]), number(args[4]), number(args[5]))
	case "beanstalkd-send":
		return beanstalkdSend(args[1], number(args[2]))
	case "beanstalkd-work":
		return beanstalkdWork(args[1], number(args[2]))
	case "jetstream-send":
		return jetstreamSend(args[1], number(args[2]))
	case "jetstream-work":
		return jetstreamWork(args[1], number(args[2]))
	case "engine-send":
		return engineSend(args[1], number(args[2]))
	case "engine-take":
		return engineTake(args[1], number(args[2]), number(args[3]), number(args[4]), number(args[5]))
	case "redis-read":
		return redisRead(args[1], number(args[2]))
	case "redis-length":
		return redisLength(args[1], args[2], number(args[3]))
	case "read":
		return readFiles(args[1])
	case "fill-ring":
		return fillRing(args[1], number(args[2]))
	case "send-many":
		return sendMany(args[1], number(args[2]), number(args[3]), args[4])
	case "copy":
		return copyLines(args[1], args[2])
	}
	return fmt.Errorf("no such role: %s", args[0])
}

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// onWord says that all is prepared, and waits for a word: to begin, to end.
func onWord() error {
	fmt.Println("ready")
	_, err := os.Stdin.Read(make([]byte, 16))
	return err
}

// sendLines sends lines over conns connections, as fast as they are taken.
func sendLines(address string, conns, each int, of func(source int) *block) error {
	blocks := make([]*block, conns)
	peers := make([]net.Conn, conns)
	for i := range conns {
		blocks[i] = of(i)
		var err error
		if peers[i], err = net.Dial("tcp", address); err != nil {
			return err
		}
	}
	if err := onWord(); err != nil {
		return err
	}
	errs := make([]error, conns)
	var all sync.WaitGroup
	for i := range conns {
		all.Go(func() { errs[i] = sendAll(peers[i], blocks[i], each) }) // ends with its lines
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return onWord() // a subject may end with its connection, and has to be measured first
}

func sendAll(peer net.Conn, b *block, left int) error {
	for left > 0 {
		text, n := b.take(left)
		if _, err := peer.Write(text); err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// sendDatagrams sends a line a datagram, so many a second; 0: as fast as it goes.
func sendDatagrams(address string, lines, perSecond int, b *block) error {
	peer, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer peer.Close()
	batch := ipv4.NewPacketConn(peer.(*net.UDPConn))
	messages := make([]ipv4.Message, 64)
	for i := range messages {
		messages[i].Buffers = make([][]byte, 1)
	}
	if err := onWord(); err != nil {
		return err
	}
	for begun, sent := time.Now(), 0; sent < lines; {
		text, n := b.take(lines - sent)
		for at, i := 0, 0; i < n; {
			due := n
			if perSecond > 0 {
				due = int(time.Since(begun).Seconds()*float64(perSecond)) - sent
			}
			k := 0
			for ; k < len(messages) && i+k < min(n, due); k++ {
				messages[k].Buffers[0], at = text[at:b.ends[i+k]-1], b.ends[i+k]
			}
			if k == 0 {
				time.Sleep(200 * time.Microsecond)
				continue
			}
			if err := writeAll(batch, messages[:k]); err != nil {
				return err
			}
			i += k
		}
		sent += n
	}
	return onWord()
}

func writeAll(batch *ipv4.PacketConn, messages []ipv4.Message) error {
	for len(messages) > 0 {
		n, err := batch.WriteBatch(messages, 0)
		if err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}

// copyLines is the least that any collector does: accept, read, append. It knows
// no lines, so with several connections they end up torn.
func copyLines(address, path string) error {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	for {
		peer, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() { // ends with the connection
			defer peer.Close()
			b := make([]byte, blockSize)
			for {
				n, err := peer.Read(b)
				if _, werr := f.Write(b[:n]); err != nil || werr != nil {
					return
				}
			}
		}()
	}
}
