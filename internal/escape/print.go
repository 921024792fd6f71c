package escape

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// String returns text on one line, safe for a terminal: as Line, with TAB and line ends
// escaped too.
func String(text string) string {
	if Harmless([]byte(text)) == len(text) && !strings.Contains(text, "\t") {
		return text
	}
	return strings.ReplaceAll(string(Line(nil, []byte(text))), "\t", "#011")
}

// Lines returns text of several lines, safe for a terminal: each as Line.
func Lines(text string) string {
	var out []byte
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			out = append(out, '\n')
		}
		out = Line(out, []byte(line))
	}
	return string(out)
}

// Fprintf prints to a terminal: the format as it is, and all text among the arguments as
// String. Commands use it to print data from outside; the format is ours.
func Fprintf(w io.Writer, format string, args ...any) (int, error) {
	return fmt.Fprintf(w, format, all(args)...)
}

// Sprintf is Fprintf into a string.
func Sprintf(format string, args ...any) string { return fmt.Sprintf(format, all(args)...) }

func all(args []any) []any {
	safe := make([]any, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case nil, bool, int, int64, uint64, float64:
			safe[i] = a
		case string:
			safe[i] = String(a)
		case []byte:
			safe[i] = String(string(a))
		default:
			safe[i] = shown{a}
		}
	}
	return safe
}

// shown is an argument of any other type, which has a format of its own.
type shown struct{ value any }

func (s shown) Format(f fmt.State, verb rune) {
	io.WriteString(f, String(fmt.Sprintf(fmt.FormatString(f, verb), s.value)))
}

// PrintJSON prints v to a terminal, as an indented Document.
func PrintJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(Document(b), '\n'))
	return err
}

// CopyJSON prints a JSON text to a terminal as it arrives, line by line, as a Document.
func CopyJSON(w io.Writer, r io.Reader) error {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		if _, werr := w.Write(Document(line)); werr != nil {
			return werr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Document returns a JSON text safe for a terminal: the characters that Line would escape,
// except line ends and TABs between its parts, are escaped as in JSON.
func Document(b []byte) []byte {
	var out []byte
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case n == 1 && r == utf8.RuneError:
			out = utf8.AppendRune(out, r)
		case Rune(r) && r != '\n':
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	return out
}
