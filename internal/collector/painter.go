package collector

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"

	"fanin/internal/escape"
)

// painter prints lines, in colours on a terminal.
type painter struct {
	w         *bufio.Writer
	color     bool
	safe      bool // escape: only text may reach the terminal
	json      bool // lines are JSON
	highlight *regexp.Regexp
	format    string
}

func newPainter(stdout io.Writer, color, highlight string) (*painter, error) {
	p := &painter{w: bufio.NewWriterSize(stdout, 64<<10)}
	if f, ok := stdout.(*os.File); ok {
		fi, err := f.Stat()
		p.safe = err == nil && fi.Mode()&fs.ModeCharDevice != 0 && !isNull(fi)
	}
	switch color {
	case "always":
		p.color = true
	case "auto":
		p.color = p.safe && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	case "never":
	default:
		return nil, fmt.Errorf("--color %q: want auto, always or never", color)
	}
	if highlight != "" {
		re, err := regexp.Compile(highlight)
		if err != nil {
			return nil, fmt.Errorf("--highlight: %w", err)
		}
		p.highlight = re
	}
	return p, nil
}

// isNull reports whether a file is the null device: a character device, as terminals are, that shows nothing.
func isNull(fi fs.FileInfo) bool {
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(fi, null)
}

func (p *painter) flush() error { return p.w.Flush() }

func (p *painter) line(line []byte) error {
	switch {
	case p.safe && p.json:
		line = escape.Document(line)
	case p.safe:
		line = escape.Line(nil, line)
	}
	if p.color {
		line = p.paint(line)
	}
	p.w.Write(line)
	return p.w.WriteByte('\n')
}

// paint colours the host of a syslog line, each host in its own colour, and highlights
// matches.
func (p *painter) paint(line []byte) []byte {
	var head []byte
	if stamp, rest, ok := bytes.Cut(line, []byte{' '}); ok && p.format == "syslog" {
		if host, rest, ok := bytes.Cut(rest, []byte{' '}); ok {
			head = fmt.Appendf(nil, "\x1b[2m%s\x1b[0m \x1b[%dm%s\x1b[0m ", stamp, hostColor(host), host)
			line = rest
		}
	}
	if p.highlight != nil {
		line = p.highlight.ReplaceAllFunc(line, func(b []byte) []byte {
			if len(b) == 0 {
				return b
			}
			return fmt.Appendf(nil, "\x1b[1;7m%s\x1b[0m", b)
		})
	}
	return append(head, line...)
}

// hostColor is one of the terminal's colours that can be read on black and white.
func hostColor(host []byte) int {
	colors := [...]int{31, 32, 33, 34, 35, 36, 91, 92, 94, 95, 96}
	sum := 0
	for _, c := range host {
		sum = sum*31 + int(c)
	}
	return colors[uint(sum)%uint(len(colors))]
}
