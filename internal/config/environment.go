package config

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// environment replaces the variables in the string values of a decoded file:
//
//	${NAME}           the variable; it is a mistake if it is not set
//	${NAME:-default}  the default, if the variable is not set or is empty
//	$${               the two characters ${
//
// A default may contain variables, and braces in pairs. Names are letters, digits and '_', and
// do not begin with a digit. The file is parsed first, so a value never becomes TOML syntax, and
// what a value contains is not looked at again.
type environment struct {
	problems []KeyProblem
	used     map[string]bool   // paths of values that contained a variable
	secrets  map[string]string // name by value
}

func newEnvironment() *environment {
	return &environment{used: make(map[string]bool), secrets: make(map[string]string)}
}

// replace returns a value at a path with its variables replaced, those of values within it
// included.
func (e *environment) replace(path string, value any) any {
	switch value := value.(type) {
	case string:
		return e.text(path, value)
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			value[key] = e.replace(child(path, key), value[key])
		}
	case []map[string]any:
		for i, table := range value {
			e.replace(element(path, i), table)
		}
	case []any:
		for i, x := range value {
			value[i] = e.replace(element(path, i), x)
		}
	}
	return value
}

// text replaces the variables in one string.
func (e *environment) text(path, text string) string {
	if !strings.Contains(text, "${") {
		return text
	}
	x := expansion{rest: text, values: make(map[string]string)}
	result := x.text(0)
	for _, p := range x.problems {
		e.problems = append(e.problems, KeyProblem{path, fmt.Sprintf("%s: %s", last(path), p)})
	}
	if len(x.problems) > 0 {
		return text
	}
	e.used[path] = len(x.values) > 0 || result != text
	hide := secretName.MatchString(last(path)) || hasLogin.MatchString(result)
	for name, value := range x.values {
		if len(value) > 2 && (hide || secretName.MatchString(name) || hasLogin.MatchString(value)) {
			e.secrets[value] = name
		}
	}
	return result
}

var (
	secretName = regexp.MustCompile(`(?i)(^pw|pwd|pass|secret|token|key|cred|auth|login|dsn)`)
	hasLogin   = regexp.MustCompile(`://[^/\s]*@|^[^/\s:]*:[^/\s]*@`)
)

// typed returns a value that came from the environment as a field's kind needs it: in a file
// a number and a truth value have no quotes, and a variable is only replaced in quotes.
func (e *environment) typed(path string, value any, kind string) any {
	s, ok := value.(string)
	if !ok || !e.used[path] {
		return value
	}
	switch kind {
	case "bool":
		if s == "true" || s == "false" {
			return s == "true"
		}
	case "int", "int64":
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n
		}
	}
	return value
}

// broken reports whether a path is that of a value whose variables could not be replaced, or
// of a list with such a value: whatever else is wrong there follows from that.
func (e *environment) broken(path string) bool {
	return slices.ContainsFunc(e.problems, func(k KeyProblem) bool {
		return k.Path == path || strings.HasPrefix(k.Path, path+"[")
	})
}

// hide replaces the secrets in a message by the names of their variables.
func (e *environment) hide(text string) string {
	longest := func(a, b string) int { return len(b) - len(a) }
	for _, value := range slices.SortedFunc(maps.Keys(e.secrets), longest) {
		shown := "${" + e.secrets[value] + "}"
		quoted := strconv.Quote(value)
		text = strings.ReplaceAll(text, quoted[1:len(quoted)-1], shown)
		text = strings.ReplaceAll(text, value, shown)
	}
	return text
}

// expansion walks over one string; every step goes forward.
type expansion struct {
	rest     string
	values   map[string]string // of the variables that are part of the result, by name
	problems []string
	stopped  bool // what follows cannot be understood
}

// deepest is how many defaults may be inside each other.
const deepest = 8

// text returns what follows with its variables replaced: to the end of the string, or, inside a
// default, to the brace that ends it.
func (x *expansion) text(depth int) string {
	var b strings.Builder
	open := 0 // braces of the default itself
	for x.rest != "" {
		switch c := x.rest[0]; {
		case strings.HasPrefix(x.rest, "$${"):
			b.WriteString("${")
			x.rest = x.rest[len("$${"):]
			open++
			continue
		case strings.HasPrefix(x.rest, "${"):
			b.WriteString(x.variable(depth))
			continue
		case c == '{':
			open++
		case c == '}' && depth > 0 && open == 0:
			return b.String()
		case c == '}':
			open--
		}
		b.WriteByte(x.rest[0])
		x.rest = x.rest[1:]
	}
	if depth > 0 {
		x.stop("\"${\" without a \"}\" after it; want ${NAME} or ${NAME:-default}, and $${ for the characters ${")
	}
	return b.String()
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*`)

// variable returns the value of the variable that the rest begins with.
func (x *expansion) variable(depth int) string {
	all := x.rest
	name := variableName.FindString(all[len("${"):])
	x.rest = all[len("${")+len(name):]
	switch {
	case name != "" && strings.HasPrefix(x.rest, "}"):
		x.rest = x.rest[1:]
		return x.value(name)
	case name != "" && strings.HasPrefix(x.rest, ":-") && depth < deepest:
		x.rest = x.rest[len(":-"):]
		return x.valueOr(name, depth)
	case depth >= deepest:
		x.stop("more than %d defaults are inside each other", deepest)
	default:
		x.stop("%q is no variable; want ${NAME} or ${NAME:-default}, with a NAME of letters, digits and '_', "+
			"and $${ for the characters ${", shorten(all))
	}
	return ""
}

// value returns the value of a variable that must be set.
func (x *expansion) value(name string) string {
	value, ok := os.LookupEnv(name)
	switch {
	case !ok:
		x.problem("the environment variable %s is not set; set it for this program, or write a default, "+
			"as in ${%s:-default}", name, name)
	case !utf8.ValidString(value):
		x.problem("the value of the environment variable %s is not UTF-8", name)
	}
	x.values[name] = value
	return value
}

// valueOr returns the value of a variable, or its default.
func (x *expansion) valueOr(name string, depth int) string {
	if os.Getenv(name) == "" {
		text := x.text(depth + 1)
		x.rest = strings.TrimPrefix(x.rest, "}")
		return text
	}
	unused := expansion{rest: x.rest, values: make(map[string]string)} // what is wrong in there does not matter
	unused.text(depth + 1)
	if unused.stopped {
		x.stop("%s", unused.problems[len(unused.problems)-1])
		return ""
	}
	x.rest = unused.rest[1:]
	return x.value(name)
}

// stop reports a mistake behind which the text cannot be understood.
func (x *expansion) stop(format string, args ...any) {
	if !x.stopped {
		x.problem(format, args...)
	}
	x.rest, x.stopped = "", true
}

func (x *expansion) problem(format string, args ...any) {
	x.problems = append(x.problems, fmt.Sprintf(format, args...))
}

// shorten returns the beginning of a text for a message.
func shorten(text string) string {
	const most = 40
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}
