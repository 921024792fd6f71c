package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// layout takes a line of the log apart: what its source wrote, and which source
// that was. ok is false when the line is not of that layout.
type layout func(line []byte) (body []byte, source string, ok bool)

// layouts are those of the collector's format key.
func layoutOf(format string) (layout, error) {
	switch format {
	case "", "syslog":
		return syslog, nil
	case "json":
		return jsonLine, nil
	case "raw":
		return func(line []byte) ([]byte, string, bool) { return line, "", true }, nil
	}
	return nil, fmt.Errorf("format %q: want syslog, json or raw", format)
}

const timeShape = "2006-01-02T15:04:05.000000Z"

// syslog is "TIME HOST SOURCE: line".
func syslog(line []byte) (body []byte, source string, ok bool) {
	if !isTime(line) {
		return nil, "", false
	}
	host, rest, ok := bytes.Cut(line[len(timeShape)+1:], []byte{' '})
	if !ok || !isName(host) {
		return nil, "", false
	}
	name, body, ok := bytes.Cut(rest, []byte(": "))
	if !ok || !isName(name) {
		return nil, "", false
	}
	return body, string(name), true
}

// isTime reports whether line begins with a time and a space.
func isTime(line []byte) bool {
	if len(line) <= len(timeShape) || line[len(timeShape)] != ' ' {
		return false
	}
	for i, c := range []byte(timeShape) {
		digit := '0' <= c && c <= '9'
		if got := line[i]; digit && (got < '0' || got > '9') || !digit && got != c {
			return false
		}
	}
	return true
}

func isName(name []byte) bool {
	for _, c := range name {
		ok := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || bytes.IndexByte([]byte("._/-:[]"), c) >= 0
		if !ok {
			return false
		}
	}
	return len(name) > 0
}

// jsonLine is the format json, with the names of OpenTelemetry.
func jsonLine(line []byte) (body []byte, source string, ok bool) {
	var l struct {
		Time time.Time `json:"ObservedTimestamp"`
		Own  time.Time `json:"Timestamp"`
		Host string    `json:"host.name"`
		Name string    `json:"service.name"`
		Body *string   `json:"Body"`
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if d.Decode(&l) != nil || d.More() || l.Time.IsZero() || l.Host == "" || l.Name == "" || l.Body == nil {
		return nil, "", false
	}
	return []byte(*l.Body), l.Name, true
}
