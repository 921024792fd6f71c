package redis

import (
	"fmt"
	"strings"
)

// Channel is the name of channels, in which {host} and {source} stand for those of a line:
// "fanin.{source}".
type Channel string

// Check returns what is wrong with the name.
func (c Channel) Check() error {
	rest := strings.NewReplacer("{host}", "", "{source}", "").Replace(string(c))
	switch {
	case c == "":
		return fmt.Errorf("the name of a channel is empty")
	case strings.ContainsAny(rest, "{}"):
		return fmt.Errorf("the channel %q has other braces than {host} and {source}", string(c))
	}
	return nil
}

// append appends the channel of a line.
func (c Channel) append(b, host, source []byte) []byte {
	for rest := string(c); ; {
		before, after, found := strings.Cut(rest, "{")
		b = append(b, before...)
		if !found {
			return b
		}
		name, tail, _ := strings.Cut(after, "}")
		if rest = tail; name == "host" {
			b = appendName(b, host)
		} else {
			b = appendName(b, source)
		}
	}
}

// appendName appends a host or a source. Spaces, control characters, and what has a meaning
// in patterns of PSUBSCRIBE become '_'; "-" stands for one that is not known.
func appendName(b, name []byte) []byte {
	if len(name) == 0 {
		return append(b, '-')
	}
	for _, c := range name {
		switch {
		case c <= ' ', c == 0x7f, c == '*', c == '?', c == '[', c == ']', c == '\\':
			c = '_'
		}
		b = append(b, c)
	}
	return b
}
