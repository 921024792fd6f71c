package line

import (
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// maxLiteral is how much of a literal is looked for: a longer one is not found faster.
const maxLiteral = 48

// required returns a text that every match of an expression contains; "" if none is known. It
// is the longest one that is found easily.
func required(expression string) string {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return ""
	}
	return literalOf(re.Simplify())
}

func literalOf(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		return textOf(re)
	case syntax.OpCapture, syntax.OpPlus:
		return literalOf(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return literalOf(re.Sub[0])
		}
	case syntax.OpConcat:
		return longestOf(re.Sub)
	}
	return ""
}

// longestOf returns the longest text that a match of all of these in a row contains. Literals
// that follow each other are one.
func longestOf(subs []*syntax.Regexp) (longest string) {
	row := ""
	for _, sub := range subs {
		text := literalOf(sub)
		if sub.Op == syntax.OpLiteral && text != "" {
			row += text
			text = row
		} else {
			row = ""
		}
		if len(text) > len(longest) {
			longest = text
		}
	}
	return longest
}

// textOf returns the text of a literal. One that matches in either case has none; nor has one
// with U+FFFD, which matches every byte that is not UTF-8, or with a newline: it is in no line,
// and would be found where one line ends and the next one begins.
func textOf(re *syntax.Regexp) string {
	if re.Flags&syntax.FoldCase != 0 {
		return ""
	}
	for _, r := range re.Rune {
		if r == utf8.RuneError || r == '\n' {
			return ""
		}
	}
	return string(re.Rune)
}

// requiredName returns a text that every line of a host or a source contains that one of these
// names with wildcards matches; before and behind are what precedes and follows a name in a line.
// A name that matches no name at all may be of a line that has none.
func requiredName(before string, names []string, behind string) (longest string) {
	if len(names) != 1 || strings.Trim(names[0], "*") == "" {
		return ""
	}
	for _, text := range strings.FieldsFunc(before+names[0]+behind, func(r rune) bool { return r == '*' || r == '?' }) {
		if len(text) > len(longest) && !strings.ContainsAny(text, "\uFFFD\n") {
			longest = text
		}
	}
	return longest
}

// requiredIn returns the longest text that every line contains that f chooses, in a log of a
// format.
func requiredIn(format string, f *Filter) (longest string) {
	var texts []string
	for _, expression := range f.Include {
		texts = append(texts, required(expression))
	}
	switch format {
	case "syslog":
		texts = append(texts, requiredName(" ", f.Host, " "), requiredName(" ", f.Source, ": "))
	case "json":
		texts = append(texts, requiredName(`"host.name":"`, f.Host, `"`),
			requiredName(`"service.name":"`, f.Source, `"`))
	}
	for _, text := range texts {
		if text = text[:min(len(text), maxLiteral)]; len(text) > len(longest) {
			longest = text
		}
	}
	return longest
}
