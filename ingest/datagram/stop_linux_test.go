package datagram_test

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/ingest/datagram"
	"fanin/ingest/ingesttest"
	"fanin/ingest/plain"
)

// TestStopRefuses: over a unix socket, whatever a program could send is written, however a stop
// comes in between.
func TestStopRefuses(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), "log.sock")
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		k := ingesttest.NewRecorder()
		l := &datagram.Listener{Kind: "unix", Private: true, Formats: []datagram.Format{(&plain.Datagrams{}).Format()}, Out: k}
		served, sent := make(chan error, 1), make(chan string, 1)
		go func() { served <- l.Serve(conn) }() // ends by Shutdown
		nc, err := net.Dial("unixgram", path)
		if err != nil {
			t.Fatal(err)
		}
		begun := make(chan bool)
		go func() { // ends with the socket
			var all strings.Builder
			for i := 0; ; i++ {
				line := fmt.Sprint("line ", i)
				if _, err := nc.Write([]byte(line)); err != nil {
					sent <- all.String()
					return
				}
				all.WriteString(line + "\n")
				if i == 100 {
					close(begun)
				}
			}
		}()
		<-begun
		time.Sleep(5 * time.Millisecond)
		if err := l.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-served
		nc.SetDeadline(time.Now().Add(time.Second))
		if want := <-sent; k.Text() != want {
			t.Errorf("%d lines were sent, and %d are written", strings.Count(want, "\n"), strings.Count(k.Text(), "\n"))
		}
		nc.Close()
	}
}
