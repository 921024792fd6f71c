package redis

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/internal/redisconn"
	"fanin/internal/redistest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// script is a server that answers the first command of each connection with the bytes of
// answer, whatever it was.
func script(t *testing.T, answer func(w io.Writer)) *redisconn.Client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with the listener
		defer close(ended)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer nc.Close()
				if _, err := bufio.NewReader(nc).ReadString('\n'); err == nil {
					answer(nc)
				}
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-ended })
	return &redisconn.Client{Login: redisconn.Login{URLs: []string{"redis://" + ln.Addr().String()}}, Timeout: time.Second}
}

// heap is how much memory is in use, or was since the last collection.
func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

const subscribed = "*3\r\n$9\r\nsubscribe\r\n$3\r\napp\r\n:1\r\n"

// TestHostileServers: nothing that a server sends stops the process or makes it large; the
// trouble says what it was.
func TestHostileServers(t *testing.T) {
	endless := func(s string) func(io.Writer) {
		block := strings.Repeat(s, 1+64<<10/len(s))
		return func(w io.Writer) {
			for {
				if _, err := io.WriteString(w, block); err != nil {
					return
				}
			}
		}
	}
	send := func(s string) func(io.Writer) { return func(w io.Writer) { io.WriteString(w, s) } }
	for name, row := range map[string]struct {
		answer func(io.Writer)
		want   string
	}{
		"length":     {send("$9223372036854775806\r\n"), "9223372036854775806 bytes"},
		"array":      {send("*100000000000\r\n"), "100000000000 elements"},
		"negative":   {send("*-5\r\n"), "-5 elements"},
		"deep":       {endless("*1\r\n"), "32 deep"},
		"inline":     {endless("x"), "65536 bytes"},
		"attributes": {endless("|0\r\n"), "64 attributes"},
		"attribute":  {send("|400000\r\n" + strings.Repeat("$1\r\na\r\n", 600000)), "unexpected EOF"},
		"elements":   {endless("*524288\r\n"), "deep"},
		"too many":   {send("*268435457\r\n"), "268435457 elements"},
		"many":       {send("*1000000\r\n" + strings.Repeat("*2\r\n:1\r\n:2\r\n", 900000)), "unexpected EOF"},
		"other":      {send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), "no reply of a Redis server"},
		"tls":        {send("\x15\x03\x03\x00\x02\x02\x46\r\n"), "no reply of a Redis server"},
		"nothing":    {send(""), "EOF"},
		"cut":        {send("*3\r\n$9\r\nsubsc"), "unexpected EOF"},
		"login":      {send("-NOAUTH Authentication required.\r\n"), "correct user and password_file"},
		"protected":  {send("-DENIED Redis is running in protected mode\r\n"), "protected mode"},
		"clients":    {send("-ERR max number of clients reached\r\n"), "maxclients"},
		"unasked":    {send(subscribed + "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"), "ended the subscription"},
		"odd":        {send(subscribed + "*0\r\n*1\r\n*0\r\n:1\r\n+message\r\n*2\r\n+message\r\n*0\r\n*3\r\n+message\r\n_\r\n:1\r\n*4\r\n+pmessage\r\n*1\r\n:1\r\n_\r\n+x\r\n"), "EOF"},
		"long": {func(w io.Writer) {
			io.WriteString(w, subscribed+"*3\r\n+message\r\n+app\r\n$536870912\r\n")
			io.CopyN(w, &zeros{}, 512<<20)
		}, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			before := heap()
			n := &Input{Client: script(t, row.answer), Out: ingesttest.NewRecorder(), Channels: ChannelOptions{Names: []string{"app"}}}
			served := make(chan error, 1)
			go func() { served <- n.Serve() }() // ended below
			most, got := uint64(0), ""
			waittest.Until(t, fmt.Sprintf("trouble with %q", row.want), func() bool {
				most, got = max(most, heap()), n.Trouble()
				return strings.Contains(got, row.want)
			})
			if err := n.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			<-served
			if grown := int64(most) - int64(before); grown > 72<<20 { // 524,288 elements, copied as they grow, and what was sent
				t.Errorf("the heap grew by %d MiB", grown>>20)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestHugeMessage: a message of 512 MiB from a real server passes through without being held,
// and is counted.
func TestHugeMessage(t *testing.T) {
	if testing.Short() {
		t.Skip("needs 2 GiB of memory, for the server")
	}
	s := redistest.New(t, "client-output-buffer-limit pubsub 0 0 0")
	x := listen(t, s, func(n *Input) { n.Channels.Silence = time.Minute }, "app") // the server is busy meanwhile
	s.Do("SETRANGE", "x", fmt.Sprint(512<<20-1), "x")
	before, most := heap(), uint64(0)
	s.Do("EVAL", "return redis.call('PUBLISH', 'app', redis.call('GET', 'x'))", "0")
	s.Do("DEL", "x")
	s.Do("PUBLISH", "app", "after it")
	waittest.Until(t, "the message behind it", func() bool {
		most = max(most, heap())
		received, _, _ := x.counts()
		return received == 2
	})
	x.out.Wait(t, func(text string, _ []wire.Batch) bool { return text == "after it\n" })
	x.stop()
	if _, _, dropped := x.counts(); dropped != 1 || x.noted("redis-long") != 1 {
		t.Errorf("dropped %d, reported %d", dropped, x.noted("redis-long"))
	}
	if grown := int64(most) - int64(before); grown > 16<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}
