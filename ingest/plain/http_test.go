package plain_test

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"

	"fanin/ingest/ingesttest"
	"fanin/ingest/plain"
	"fanin/internal/certs/certstest"
	"fanin/internal/wire"
)

const httpBody = "\r\nHost: x\r\nContent-Type: text/plain\r\n\r\nbody\nmore body\n"

// requests are requests of HTTP, up to the end of their first line.
var requests = map[string]string{
	"GET": "GET / HTTP/1.1", "HTTP/1.0": "GET /x HTTP/1.0", "POST": "POST /x?y=z HTTP/1.1", "PUT": "PUT /x HTTP/1.1", "PATCH": "PATCH /x HTTP/1.1",
	"OPTIONS": "OPTIONS * HTTP/1.1", "CONNECT": "CONNECT example.com:443 HTTP/1.1", "a proxy's": "GET http://example.com/ HTTP/1.1",
	"WebDAV": "PROPFIND /x HTTP/1.1", "any method": "M-SEARCH * HTTP/1.1", "HTTP/2": "PRI * HTTP/2.0", "HTTP/2 by its short name": "POST / HTTP/2",
	"spaces in the target": "GET /a b c HTTP/1.1", "a blank line before": "\r\nPOST /x HTTP/1.1",
	"a path of 9 KiB": "POST /" + strings.Repeat("x", 9<<10) + " HTTP/1.1", "a path of 300 KiB": "POST /" + strings.Repeat("x", 300<<10) + " HTTP/1.1",
	"a path longer than a line may be": "POST /" + strings.Repeat("x", 3<<20) + " HTTP/1.1",
}

// A request of HTTP is answered, and nothing of it becomes a line, whatever its
// method and the length of its path, encrypted or not, in one piece or in many, and
// also when the peer closes its side at once.
func TestHTTP(t *testing.T) {
	ca := certstest.New(t)
	for name, line := range requests {
		for _, encrypted := range []bool{false, true} {
			for _, pieces := range []bool{false, true} {
				for _, half := range []bool{false, true} {
					if pieces && len(line) > 10<<10 {
						continue
					}
					k := ingesttest.NewRecorder()
					s := &ingesttest.TCP{Out: k}
					if encrypted {
						s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Sign("c")}}
					}
					var nc net.Conn = ingesttest.Dial(t, ingesttest.Start(t, s))
					if encrypted {
						nc = tls.Client(nc, &tls.Config{RootCAs: ca.Pool, ServerName: "127.0.0.1"})
					}
					go send(nc, line+httpBody, pieces, half) // ends with the connection
					answer, _ := io.ReadAll(nc)
					if got := strings.Trim(k.Text(), "\r\n"); got != "" {
						t.Errorf("%s (encrypted %v, in pieces %v, half closed %v): kept %.80q", name, encrypted, pieces, half, got)
					}
					if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
						t.Errorf("%s (encrypted %v, in pieces %v, half closed %v): answer %q", name, encrypted, pieces, half, answer)
					}
					if n := s.Rejected(t, "http"); n != 1 {
						t.Errorf("%s: %d counted", name, n)
					}
				}
			}
		}
	}
}

func send(nc net.Conn, text string, pieces, half bool) {
	if pieces {
		for i := range len(text) {
			if _, err := io.WriteString(nc, text[i:i+1]); err != nil {
				return
			}
		}
	} else {
		io.WriteString(nc, text)
	}
	if half {
		nc.(interface{ CloseWrite() error }).CloseWrite()
	}
}

// What only looks like a request is a line, and so is what follows it.
func TestNotHTTP(t *testing.T) {
	for _, line := range []string{
		"GET it HTTP", "GET / x y", "GET /x 200 0.3s", "GET /x took 3 ms over HTTP/1.1 and failed", "GET", "GET ", "GET /", "get / HTTP/1.1", "GET/ HTTP/1.1",
		"ERROR while speaking HTTP/1.1", "ERROR /var/run/x.sock does not speak HTTP/1.1", "POST mortem of HTTP/1.1", "GET / HTTP/1.1x", "GET / HTTP/11", "GET / HTTP/",
		"12:00 GET / HTTP/1.1", "10.0.0.1 - - \"GET / HTTP/1.1\" 200", "GET " + strings.Repeat("x", 10<<10) + " HTTP/1.1", " GET / HTTP/1.1", "GET\t/ HTTP/1.1",
	} {
		for _, pieces := range []bool{false, true} {
			if pieces && len(line) > 1<<10 {
				continue
			}
			k := ingesttest.NewRecorder()
			nc := ingesttest.Dial(t, ingesttest.Start(t, &ingesttest.TCP{Out: k}))
			text := line + "\nGET / HTTP/1.1\nanother\n" // only a connection's first line is looked at
			go send(nc, text, pieces, false)
			k.WaitText(t, text)
		}
	}
	for _, line := range []string{"GET /x", "GET / HTTP/1.1", "GET"} { // without an end there is no body
		k := ingesttest.NewRecorder()
		go send(ingesttest.Dial(t, ingesttest.Start(t, &ingesttest.TCP{Out: k})), line, false, true)
		k.WaitText(t, line+"\n")
	}
	k := ingesttest.NewRecorder()
	nc := ingesttest.Dial(t, ingesttest.Start(t, &ingesttest.TCP{Out: k}))
	long := "GET /x " + strings.Repeat("y", 2<<20)
	go send(nc, long+"\n", false, true)
	k.Wait(t, func(text string, _ []wire.Batch) bool {
		return strings.HasSuffix(text, "yyy\n") && len(text) >= len(long)
	})
}

// FuzzHTTP: the beginning of a request is one however it is cut, and a blank line
// before it changes nothing.
func FuzzHTTP(f *testing.F) {
	for _, line := range requests {
		f.Add([]byte(line[:min(len(line), 1000)]+"\r\n"), false)
	}
	f.Add([]byte("GET /x 200\n"), false)
	f.Add([]byte("GET /"+strings.Repeat("x", 100)), true)
	f.Fuzz(func(t *testing.T, head []byte, long bool) {
		is := plain.IsHTTP(head, long)
		if plain.IsHTTP(append([]byte("\r\n"), head...), long) != is {
			t.Fatalf("%q: a blank line changes what it is", head)
		}
		line, _, ended := strings.Cut(strings.TrimLeft(string(head), "\r\n"), "\n")
		if is && ended && !strings.Contains(line, " HTTP/") {
			t.Fatalf("%q is taken for HTTP", head)
		}
		if ended && is != plain.IsHTTP([]byte(line+"\nwhat follows\n"), long) {
			t.Fatalf("%q: what follows changes what it is", head)
		}
	})
}
