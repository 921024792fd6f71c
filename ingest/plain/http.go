package plain

import (
	"bytes"
	"fanin/ingest/stream"
	"io"
	"strings"
	"time"
)

// isHTTP reports whether head begins with an HTTP request: a method, a target and
// a version on its first line. The target and the version tell it from a log line
// that begins with a method. Of a line too long to wait for its end, a target that
// does not end is enough: no log line begins so.
func isHTTP(head []byte, long bool) bool {
	line, _, ended := bytes.Cut(bytes.TrimLeft(head, "\r\n"), []byte{'\n'}) // blank lines may come before a request
	method, rest, _ := bytes.Cut(line, []byte{' '})
	known := httpMethods[string(method)]
	if !known && !isMethod(method) || !isTarget(string(rest[:min(len(rest), 16)]), string(method)) {
		return false
	}
	if !ended {
		if !long {
			return false
		}
		i := bytes.IndexByte(rest, ' ')
		return i < 0 || strings.HasPrefix("HTTP/1.1", string(rest[i+1:]))
	}
	rest = bytes.TrimRight(rest, "\r ")
	i := bytes.LastIndexByte(rest, ' ')
	return i > 0 && isVersion(string(rest[i+1:])) && (known || bytes.IndexByte(rest, ' ') == i)
}

// httpMethods are the usual methods, whose targets may hold spaces, as careless clients
// write them. Others, such as those of WebDAV, are recognized by their form.
var httpMethods = map[string]bool{
	"GET": true, "HEAD": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true,
	"OPTIONS": true, "CONNECT": true, "TRACE": true, "PRI": true,
}

func isMethod(word []byte) bool {
	for _, c := range word {
		if (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return 1 <= len(word) && len(word) <= 32
}

func isTarget(begin, method string) bool {
	for _, prefix := range []string{"/", "*", "http://", "https://"} {
		if strings.HasPrefix(begin, prefix) {
			return true
		}
	}
	return method == "CONNECT" && begin != "" && begin[0] != ' '
}

// isVersion reports whether word is HTTP/1.1, HTTP/2 and the like.
func isVersion(word string) bool {
	v, ok := strings.CutPrefix(word, "HTTP/")
	digit := func(i int) bool { return i < len(v) && '0' <= v[i] && v[i] <= '9' }
	return ok && digit(0) && (len(v) == 1 || len(v) == 3 && v[1] == '.' && digit(2))
}

const httpAnswer = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
	"This port takes log lines over plain TCP, and fanin agents; it does not speak HTTP.\n" +
	"Health and metrics are on the collector's [collector.http] listener.\n"

func (c *conn) answerHTTP() {
	c.Reject("http", "a peer sent an HTTP request to a port for log lines")
	c.Net().SetWriteDeadline(time.Now().Add(stream.LingerTime))
	io.WriteString(c.Net(), httpAnswer)
	c.HangUp()
}
