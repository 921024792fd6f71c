package tail

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// A pattern names files, as in a shell:
//
//	*      any bytes of a name
//	?      one character
//	[a-z]  one of these characters; [^a-z] and [!a-z] none of these
//	{a,b}  one of these alternatives, which may contain separators and patterns
//	**     as a whole part of the path: any number of directories, also none
//	\c     the character c itself, except on Windows

// mostAlternatives is how many patterns the alternatives of one may stand for.
const mostAlternatives = 256

// anyDepth is the part of a pattern that stands for any number of directories.
const anyDepth = "**"

const separator = string(filepath.Separator)

// CheckPattern returns what is wrong with a pattern.
func CheckPattern(pattern string) error {
	if !doublestar.ValidatePathPattern(pattern) {
		return fmt.Errorf("invalid pattern %q: a bracket or brace has no other one, or a \"\\\" ends it; "+
			"write \"\\{\" for a brace in a name", pattern)
	}
	all := alternatives([]string{pattern}, mostAlternatives, func(string) bool { return true })
	if all == nil {
		return fmt.Errorf("the alternatives of %q stand for more than %d patterns; write fewer", pattern,
			mostAlternatives)
	}
	for _, p := range all {
		for _, part := range strings.Split(p, separator) {
			if !doublestar.ValidatePathPattern(part) {
				return fmt.Errorf("invalid pattern %q: a \"[\" or \"\\\" has a separator behind it", pattern)
			}
			if strings.Contains(part, anyDepth) && part != anyDepth {
				return fmt.Errorf("%q: ** stands for directories, and so must be a whole part of the path, "+
					"as in \"/var/log/**/*.log\"", pattern)
			}
		}
	}
	return nil
}

var errPattern = errors.New("it is not a pattern")

// Matches reports whether a valid pattern names a path. One that ends in ** names what is below a
// directory, and not the directory.
func Matches(pattern, path string) bool {
	if strings.HasSuffix(pattern, separator+anyDepth) {
		pattern += separator + "*"
	}
	return doublestar.PathMatchUnvalidated(pattern, path)
}

// partsOf returns the patterns that one stands for, each split at its separators: first the
// directory that is the same in all matches, and then parts of which none contains a separator.
// Alternatives without separators stay together, so that a directory is read once for them.
func partsOf(pattern string) (all []parts, err error) {
	if !doublestar.ValidatePathPattern(pattern) {
		return nil, errPattern
	}
	several := func(group string) bool {
		return strings.Contains(group, separator) || strings.Contains(group, anyDepth)
	}
	list := alternatives([]string{pattern}, mostAlternatives, several)
	if list == nil {
		return nil, errPattern
	}
	for _, p := range list {
		all = append(all, split(p))
	}
	return all, nil
}

// parts is a pattern without alternatives of several parts.
type parts struct {
	dir  string   // without wildcards
	rest []string // at least one
}

func split(pattern string) (p parts) {
	volume := filepath.VolumeName(pattern)
	rest := pattern[len(volume):]
	p.dir = volume
	if strings.HasPrefix(rest, separator) {
		p.dir += separator
	}
	for _, part := range strings.Split(rest, separator) {
		again := part == anyDepth && len(p.rest) > 0 && p.rest[len(p.rest)-1] == anyDepth
		if part != "" && !again {
			p.rest = append(p.rest, part)
		}
	}
	if n := len(p.rest); n == 0 || p.rest[n-1] == anyDepth {
		p.rest = append(p.rest, "*") // all files below
	}
	for len(p.rest) > 1 && !hasMeta(p.rest[0]) {
		p.dir, p.rest = filepath.Join(p.dir, p.rest[0]), p.rest[1:]
	}
	return p
}

// alternatives writes the groups of alternatives in some patterns out that are wanted; nil: there
// would be more than most.
func alternatives(patterns []string, most int, wanted func(group string) bool) []string {
	for i := 0; i < len(patterns); {
		from, to := nextGroup(patterns[i], wanted)
		if from < 0 {
			i++
			continue
		}
		before, group, after := patterns[i][:from], patterns[i][from+1:to], patterns[i][to+1:]
		var list []string
		for _, choice := range choices(group) {
			list = append(list, before+choice+after)
		}
		if patterns = append(patterns[:i:i], append(list, patterns[i+1:]...)...); len(patterns) > most {
			return nil
		}
	}
	return patterns
}

// nextGroup returns where the first wanted group of alternatives is in a valid pattern, from its
// first brace to its last; -1: nowhere.
func nextGroup(pattern string, wanted func(group string) bool) (from, to int) {
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i += escape()
		case '[':
			if i++; i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^') {
				i++
			}
			for ; i < len(pattern) && pattern[i] != ']'; i++ {
				if pattern[i] == '\\' {
					i += escape()
				}
			}
		case '{':
			end := i + closing(pattern[i:])
			if wanted(pattern[i+1 : end]) {
				return i, end
			}
			i = end
		}
	}
	return -1, -1
}

// closing returns where the group ends that a valid pattern begins with.
func closing(pattern string) int {
	depth := 0
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i += escape()
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(pattern) - 1
}

// choices are the alternatives of a group.
func choices(group string) (list []string) {
	depth, from := 0, 0
	for i := 0; i < len(group); i++ {
		switch c := group[i]; {
		case c == '\\':
			i += escape()
		case c == '{':
			depth++
		case c == '}':
			depth--
		case c == ',' && depth == 0:
			list = append(list, group[from:i])
			from = i + 1
		}
	}
	return append(list, group[from:])
}

// escape is how many bytes a backslash makes plain.
func escape() int {
	if runtime.GOOS == "windows" {
		return 0
	}
	return 1
}

// hasMeta reports whether a part is more than a name.
func hasMeta(part string) bool {
	if runtime.GOOS == "windows" {
		return strings.ContainsAny(part, `*?[{`)
	}
	return strings.ContainsAny(part, `*?[{\`)
}

// Literal returns a pattern that matches path alone.
func Literal(path string) string {
	if runtime.GOOS == "windows" {
		return strings.NewReplacer("*", "[*]", "?", "[?]", "[", "[[]", "{", "[{]", "}", "[}]").Replace(path)
	}
	return strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, "{", `\{`, "}", `\}`, `\`, `\\`).Replace(path)
}
