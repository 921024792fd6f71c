package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// addLines adds entries with the field message to a stream, without waiting for each
// answer.
func addLines(address, key string, lines int) error {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer nc.Close()
	answers := make(chan error, 1)
	go func() { // ends with the last answer, or with the connection
		in := bufio.NewReaderSize(nc, 64<<10)
		for range lines {
			if _, err := bulk(in); err != nil {
				answers <- err
				return
			}
		}
		answers <- nil
	}()
	out := bufio.NewWriterSize(nc, 64<<10)
	err = eachLine(lines, func(line []byte) error {
		fmt.Fprintf(out, "*5\r\n$4\r\nXADD\r\n$%d\r\n%s\r\n$1\r\n*\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n", len(key), key, len(line), line)
		return nil
	})
	if err := errors.Join(err, out.Flush()); err != nil {
		return err
	}
	return <-answers
}

// redisRead reads all entries of the stream "lines" and does nothing with them.
func redisRead(address string, lines int) error {
	if err := onWord(); err != nil {
		return err
	}
	if err := readLines(address, lines, func([]byte) {}); err != nil {
		return err
	}
	return onWord()
}

// readLines reads so many entries of the stream "lines", a thousand at a time: the
// field message of each.
func readLines(address string, lines int, do func(line []byte)) error {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer nc.Close()
	in := bufio.NewReaderSize(nc, 256<<10)
	for id := "0"; lines > 0; {
		fmt.Fprintf(nc, "*6\r\n$5\r\nXREAD\r\n$5\r\nCOUNT\r\n$4\r\n1000\r\n$7\r\nSTREAMS\r\n$5\r\nlines\r\n$%d\r\n%s\r\n", len(id), id)
		n, last, err := entries(in, do)
		if err != nil {
			return err
		}
		id, lines = last, lines-n
	}
	return nil
}

// entries reads the answer to XREAD: [[name, [[id, [field, value, ...]], ...]]].
func entries(in *bufio.Reader, do func([]byte)) (n int, id string, err error) {
	if _, err := count(in, '*'); err != nil {
		return 0, "", err
	}
	if _, err := count(in, '*'); err != nil {
		return 0, "", err
	}
	if _, err := bulk(in); err != nil {
		return 0, "", err
	}
	n, err = count(in, '*')
	for range n {
		if _, err := count(in, '*'); err != nil {
			return 0, "", err
		}
		b, err := bulk(in)
		if err != nil {
			return 0, "", err
		}
		id = string(b)
		fields, err := count(in, '*')
		if err != nil {
			return 0, "", err
		}
		for range fields / 2 {
			name, err := bulk(in)
			if err != nil {
				return 0, "", err
			}
			message := string(name) == "message"
			value, err := bulk(in)
			if err != nil {
				return 0, "", err
			}
			if message {
				do(value)
			}
		}
	}
	return n, id, err
}

// count reads a line such as *3: its number.
func count(in *bufio.Reader, kind byte) (int, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, fmt.Errorf("the Redis server answers %q", line)
	}
	return strconv.Atoi(string(line[1 : len(line)-2]))
}

// bulk reads a string; it is valid until the next read.
func bulk(in *bufio.Reader) ([]byte, error) {
	n, err := count(in, '$')
	if err != nil || n < 0 {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	b, err := in.Peek(n + 2)
	if err != nil {
		return nil, err
	}
	_, err = in.Discard(n + 2)
	return b[:n], err
}

// redisLength waits until "lines" has so many entries or elements, or none came for
// three seconds, and says at the next word how many there are and how many are missing.
func redisLength(address, command string, lines int) error {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	in := bufio.NewReader(nc)
	if err := onWord(); err != nil {
		return err
	}
	had := 0
	for last := time.Now(); had < lines && time.Since(last) < stall; time.Sleep(time.Millisecond) {
		fmt.Fprintf(nc, "%s lines\r\n", strings.ToLower(command))
		n, err := count(in, ':')
		if err != nil {
			return err
		}
		if n > had {
			had, last = n, time.Now()
		}
	}
	if err := onWord(); err != nil {
		return err
	}
	fmt.Println(had, lines-had, 0) // none is late: a stream has one order
	return nil
}
