package line

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Filter chooses lines. The zero Filter chooses all of them.
type Filter struct {
	Host, Source     []string  // names with the wildcards * and ?; one of them must match
	Include, Exclude []string  // regular expressions (RE2); all, and none, must match somewhere in the line
	Since            time.Time // lines read earlier are left out; in format syslog, lines that show an earlier time
}

// Chooses reports whether f may leave lines out.
func (f *Filter) Chooses() bool {
	return len(f.Host)+len(f.Source)+len(f.Include)+len(f.Exclude) > 0 || !f.Since.IsZero()
}

// MaxPatterns is how many of each kind a filter may have, MaxPattern how long
// each may be: matching takes time in proportion to both.
const (
	MaxPatterns = 16
	MaxPattern  = 1000
)

// Matcher is a filter compiled for the lines of one log.
type Matcher struct {
	format           string
	host, source     *regexp.Regexp // nil: all
	include, exclude []*regexp.Regexp
	since            []byte // as lines have it; nil: all
	literal          []byte // every line that is chosen contains it; nil: none is known
}

// NewMatcher compiles f for a log of this format. Lines of the raw format have no
// host, source and time.
func NewMatcher(format string, f Filter) (m *Matcher, err error) {
	m = &Matcher{format: format}
	if m.host, err = anyOf("host", f.Host); err != nil {
		return nil, err
	}
	if m.source, err = anyOf("source", f.Source); err != nil {
		return nil, err
	}
	if format == "raw" && (m.host != nil || m.source != nil) {
		return nil, fmt.Errorf("lines of a log in the raw format have no host and no source to choose by")
	}
	if m.include, err = expressions("include", f.Include); err != nil {
		return nil, err
	}
	if m.exclude, err = expressions("exclude", f.Exclude); err != nil {
		return nil, err
	}
	if !f.Since.IsZero() {
		m.since = []byte(Stamp(f.Since))
	}
	m.literal = []byte(requiredIn(format, &f))
	return m, nil
}

// anyOf compiles names with wildcards to one expression; nil if there are none.
func anyOf(kind string, names []string) (*regexp.Regexp, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if err := few(kind, names); err != nil {
		return nil, err
	}
	var alternatives []string
	for _, name := range names {
		name = strings.ReplaceAll(regexp.QuoteMeta(name), `\*`, ".*")
		alternatives = append(alternatives, strings.ReplaceAll(name, `\?`, "."))
	}
	return regexp.Compile("^(?:" + strings.Join(alternatives, "|") + ")$")
}

func expressions(kind string, texts []string) (list []*regexp.Regexp, err error) {
	if err := few(kind, texts); err != nil {
		return nil, err
	}
	for _, text := range texts {
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w; for the syntax (RE2) see https://golang.org/s/re2syntax", kind, text,
				err)
		}
		list = append(list, re)
	}
	return list, nil
}

func few(kind string, texts []string) error {
	if len(texts) > MaxPatterns {
		return fmt.Errorf("%d of %s; at most %d", len(texts), kind, MaxPatterns)
	}
	for _, text := range texts {
		if len(text) > MaxPattern {
			return fmt.Errorf("%s of %d bytes; at most %d", kind, len(text), MaxPattern)
		}
	}
	return nil
}

// Match reports whether the filter chooses a line of the file, with or without its
// newline.
func (m *Matcher) Match(line []byte) bool {
	line = bytes.TrimSuffix(line, newline)
	if (m.host != nil || m.source != nil || m.since != nil) && !m.matchFields(Parse(m.format, line)) {
		return false
	}
	for _, re := range m.include {
		if !re.Match(line) {
			return false
		}
	}
	for _, re := range m.exclude {
		if re.Match(line) {
			return false
		}
	}
	return true
}

// MatchNames reports whether the filter chooses lines of a host and a source, as far as these
// two decide.
func (m *Matcher) MatchNames(host, source []byte) bool {
	return (m.host == nil || m.host.Match(host)) && (m.source == nil || m.source.Match(source))
}

func (m *Matcher) matchFields(f Fields) bool {
	return m.MatchNames(f.Host, f.Source) && (f.Read == nil || bytes.Compare(f.Read, m.since) >= 0)
}
