package collector

import (
	"net/url"

	"github.com/spf13/cobra"

	"fanin/sink/line"
)

// lineFilter are the flags that choose lines.
type lineFilter struct {
	host, source, include, exclude []string
}

// flags adds the flags to a command.
func (l *lineFilter) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&l.host, "host", nil, "only lines of this `host`; * and ? are wildcards; may be repeated")
	f.StringArrayVar(&l.source, "source", nil, "only lines of this `source`; * and ? are wildcards; may be repeated")
	f.StringArrayVarP(&l.include, "include", "i", nil,
		"only lines that match this `expression` (RE2); if repeated, all of them")
	f.StringArrayVarP(&l.exclude, "exclude", "e", nil, "no lines that match this `expression`")
}

// query is the filter as parameters of a request.
func (l *lineFilter) query() url.Values {
	return url.Values{"host": l.host, "source": l.source, "include": l.include, "exclude": l.exclude}
}

// filter is the filter for the lines of a log.
func (l *lineFilter) filter() line.Filter {
	return line.Filter{Host: l.host, Source: l.source, Include: l.include, Exclude: l.exclude}
}
