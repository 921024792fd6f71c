// Package config reads TOML files strictly: it finds every mistake in a file at once, with
// its line and a remedy, and guesses nothing. It knows no other package: a program passes
// the struct to fill.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// File is a configuration file that was read into a struct.
type File struct {
	Path     string
	lines    []string
	index    map[string]place // key path -> where it is
	problems []KeyProblem
	env      *environment
	foreign  map[string]any // the tables of other programs
}

// Problem is one mistake in a file.
type Problem struct {
	Line, Col, Len int // from 1; 0 where there is no place
	Text           string
}

// Problems are all mistakes in a file. As an error it reads, for each of them,
// as file:line, what is wrong, and the line itself.
type Problems struct {
	file *File
	List []Problem
}

// Load reads the file at path into the struct that into points to, whose fields keep their
// values where the file does not set them. ${NAME} in a string is the value of an environment
// variable, see environment. Top-level tables named in others belong to other
// programs and are ignored. The error is why the file could not be read or parsed; Err
// returns the mistakes in it, so that the program can add its own with Problem.
func Load(path string, into any, others ...string) (*File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, string(b), into, others...)
}

// Parse is Load for a text that was read already.
func Parse(path, text string, into any, others ...string) (*File, error) {
	text = strings.TrimPrefix(text, "\ufeff") // some editors put it first
	f := &File{Path: path, lines: strings.Split(text, "\n"), index: scan(text)}
	var tree map[string]any
	if _, err := toml.Decode(text, &tree); err != nil {
		return nil, f.syntax(err)
	}
	f.foreign = make(map[string]any)
	for _, name := range others {
		f.foreign[name] = tree[name]
		delete(tree, name)
	}
	f.env = newEnvironment()
	f.env.replace("", tree)
	b := &binder{env: f.env}
	b.table("", tree, structOf(into))
	f.problems = b.problems
	return f, nil
}

// Foreign returns a string in a table of another program, "" where there is none or where it
// contains a variable: the other program's environment is not known.
func (f *File) Foreign(path ...string) string {
	var value any = f.foreign
	for _, key := range path {
		table, ok := value.(map[string]any)
		if !ok {
			return ""
		}
		value = table[key]
	}
	text, _ := value.(string)
	if strings.Contains(text, "${") {
		return ""
	}
	return text
}

// Problem adds a mistake at a key, named by its path: "collector.tcp[0].listen".
func (f *File) Problem(path, format string, args ...any) {
	f.problems = append(f.problems, KeyProblem{path, fmt.Sprintf(format, args...)})
}

// syntax is the TOML parser's error as a Problem. The parser stops at the first mistake, so
// this is the only one.
func (f *File) syntax(err error) error {
	p := &Problems{file: f}
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		p.List = []Problem{{Text: err.Error()}}
		return p
	}
	m := Problem{pe.Position.Line, max(1, pe.Position.Col), max(1, pe.Position.Len), pe.Message}
	line := ""
	if m.Line >= 1 && m.Line <= len(f.lines) {
		line = f.lines[m.Line-1]
	}
	if again := definedAgain.FindStringSubmatch(pe.Message); again != nil {
		m = f.again(m, line, again[1])
	} else if bare := bareUnit.FindStringSubmatch(line); bare != nil {
		m.Text = fmt.Sprintf("a value with a unit is written in quotes: %s = %q", bare[1], bare[2])
		m = m.atKey(line)
	}
	p.List = []Problem{m}
	return p
}

var (
	definedAgain = regexp.MustCompile(`^Key '(.*)' has already been defined`)
	bareUnit     = regexp.MustCompile(`^\s*([A-Za-z0-9_-]+)\s*=\s*([0-9.]+[A-Za-z]+)\s*(?:#.*)?$`)
)

// again reports a key that is set twice, with the line of the first one.
func (f *File) again(m Problem, line, path string) Problem {
	m.Text = fmt.Sprintf("%s is there twice", path)
	if first := f.find(path); first.line > 0 && first.line < m.Line {
		m.Text += fmt.Sprintf("; the first is in line %d", first.line)
	}
	return m.atKey(line)
}

// atKey puts the mark under the key or table that the line begins with.
func (m Problem) atKey(line string) Problem {
	key := strings.TrimLeft(line, " \t")
	m.Col = utf8.RuneCountInString(line[:len(line)-len(key)]) + 1
	if eq := strings.IndexByte(key, '='); eq > 0 && key[0] != '[' {
		key = key[:eq]
	}
	m.Len = max(1, utf8.RuneCountInString(strings.TrimRight(key, " \t\r")))
	return m
}

// KeyProblem is a mistake at a key.
type KeyProblem struct{ Path, Text string }

// Err returns all mistakes added so far, in the order of their lines; nil for none.
func (f *File) Err() error {
	p := &Problems{file: f}
	for _, k := range f.allProblems() {
		at := f.find(k.Path)
		p.List = append(p.List, Problem{at.line, at.col, at.len, k.Text})
	}
	if len(p.List) == 0 {
		return nil
	}
	slices.SortStableFunc(p.List, func(a, b Problem) int { return a.Line - b.Line })
	return p
}

// allProblems returns all mistakes; secrets from the environment are not shown in them.
func (f *File) allProblems() (all []KeyProblem) {
	if f.env == nil { // there is no file
		return f.problems
	}
	all = slices.Clone(f.env.problems)
	for _, k := range f.problems {
		if !f.env.broken(k.Path) {
			all = append(all, KeyProblem{k.Path, f.env.hide(k.Text)})
		}
	}
	return all
}

// find returns the place of a key, or of the nearest table around it.
func (f *File) find(path string) place {
	for path != "" {
		for _, p := range []string{path, element(path, 0)} {
			if at, ok := f.index[p]; ok {
				return at
			}
		}
		i := strings.LastIndexAny(path, ".[")
		path = path[:max(0, i)]
	}
	return place{}
}

// Error implements error.
func (p *Problems) Error() string {
	var b strings.Builder
	for i, m := range p.List {
		if i > 0 {
			b.WriteByte('\n')
		}
		if m.Line < 1 || m.Line > len(p.file.lines) {
			fmt.Fprintf(&b, "%s: %s", p.path(), m.Text)
			continue
		}
		fmt.Fprintf(&b, "%s:%d: %s\n", p.path(), m.Line, m.Text)
		fmt.Fprintf(&b, "%5d | %s\n", m.Line, printable(withoutSecrets(p.file.lines[m.Line-1])))
		fmt.Fprintf(&b, "      | %s%s", strings.Repeat(" ", max(0, m.Col-1)), strings.Repeat("^", max(1, m.Len)))
	}
	return b.String()
}

// withoutSecrets is a line in which each login in an address is dots, as many as it has
// characters: a mistake in a URL must not print its password. So is a server_key, which may
// be the secret one by mistake.
func withoutSecrets(line string) string {
	line = serverKey.ReplaceAllStringFunc(line, func(found string) string {
		before := serverKey.FindStringSubmatch(found)[1]
		return before + strings.Repeat(".", utf8.RuneCountInString(found[len(before):]))
	})
	return login.ReplaceAllStringFunc(line, func(found string) string {
		before := login.FindStringSubmatch(found)[1]
		return before + strings.Repeat(".", utf8.RuneCountInString(found[len(before):])-1) + "@"
	})
}

var (
	login     = regexp.MustCompile(`(["'](?:[A-Za-z][A-Za-z0-9+.-]*://)?|://)[^"'\s:]*:[^"'\s]*@`)
	serverKey = regexp.MustCompile(`(server_key["']?\s*=\s*["'])[^"']+`)
)

// printable is a line as a terminal may get it, each character in one column.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, strings.TrimRight(line, "\r"))
}

func (p *Problems) path() string {
	return cmp.Or(p.file.Path, "command line")
}
