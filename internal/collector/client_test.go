package collector

import (
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"fanin/internal/daemon"
)

// A collector that ends while it is asked closes the connection. The kernel resets those
// that it had not yet accepted or read.
func TestAskEndingCollector(t *testing.T) {
	for _, row := range []struct {
		name string
		end  func(net.Conn)
	}{
		{"closed after the request", func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 4096))
			conn.Close()
		}},
		{"reset with the request unread", func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1)) // the request has arrived, and most of it is unread
			conn.Close()
		}},
		{"closed in the middle of the answer", func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"))
			conn.Close()
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			state := t.TempDir()
			l, err := net.Listen("unix", filepath.Join(state, controlName))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() { // ends with the listener
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
					row.end(conn)
				}
			}()
			err = ask(t.Context(), state, "POST", "/drain", nil)
			var exit *daemon.Exit
			if !errors.Is(err, errEnded) || !errors.As(err, &exit) || exit.Code != daemon.ExitUnreachable {
				t.Errorf("the answer is %v", err)
			}
		})
	}
}
