package line

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Filter chooses lines. The zero Filter takes all of them.
type Filter struct {
	Host, Source     []string  // names, where * and ? stand for anything; one of them must fit
	Include, Exclude []string  // regular expressions (RE2); all, and none, must match somewhere in the line
	Since            time.Time // lines that were read before are left out, as far as the format shows when that was
}

// MaxPatterns is how many of each kind a filter may have, MaxPattern how long
// each may be: matching takes time in proportion to both.
const (
	MaxPatterns = 16
	MaxPattern  = 1000
)

// Matcher is a filter ready for the lines of one log.
type Matcher struct {
	format                           string
	host, source                     *regexp.Regexp // nil: all
	include, exclude                 []*regexp.Regexp
	since                            []byte
	all                              bool
	wantHost, wantSource, wantStamps bool
}

// NewMatcher prepares f for a log of this format. A log in the raw format knows no hosts, sources and times.
func NewMatcher(format string, f Filter) (*Matcher, error) {
	m := &Matcher{format: format, wantHost: len(f.Host) > 0, wantSource: len(f.Source) > 0, wantStamps: !f.Since.IsZero()}
	if format == "raw" && (m.wantHost || m.wantSource) {
		return nil, fmt.Errorf("lines of a log in the raw format have no host and no source to choose by")
	}
	var err error
	if m.host, err = anyOf("host", f.Host); err != nil {
		return nil, err
	}
	if m.source, err = anyOf("source", f.Source); err != nil {
		return nil, err
	}
	if m.include, err = expressions("include", f.Include); err != nil {
		return nil, err
	}
	if m.exclude, err = expressions("exclude", f.Exclude); err != nil {
		return nil, err
	}
	if m.wantStamps {
		m.since = []byte(Stamp(f.Since))
	}
	m.all = !m.wantHost && !m.wantSource && !m.wantStamps && len(m.include) == 0 && len(m.exclude) == 0
	return m, nil
}

// anyOf makes one expression of names with wildcards.
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
			return nil, fmt.Errorf("%s %q: %w; expressions are RE2's, see https://golang.org/s/re2syntax", kind, text, err)
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

// Match reports whether a line of the file, with or without its newline, is chosen.
func (m *Matcher) Match(line []byte) bool {
	if m.all {
		return true
	}
	line = bytes.TrimSuffix(line, newline)
	if m.wantHost || m.wantSource || m.wantStamps {
		f := Parse(m.format, line)
		if m.wantHost && !m.host.Match(f.Host) || m.wantSource && !m.source.Match(f.Source) ||
			f.Read != nil && bytes.Compare(f.Read, m.since) < 0 {
			return false
		}
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
