package agent

import (
	"cmp"
	"regexp"
	"time"

	"fanin/internal/config"
	"fanin/internal/tail/decode"
)

// textKeys are the keys of a table of files that say how their bytes become lines.
type textKeys struct {
	Format    string          `toml:"format"`
	Encoding  string          `toml:"encoding"`
	Multiline *multilineTable `toml:"multiline"`
}

// multilineTable describes records of several lines.
type multilineTable struct {
	First    string           `toml:"first"`
	MaxLines *int             `toml:"max_lines"`
	MaxBytes *config.Size     `toml:"max_bytes"`
	Timeout  *config.Duration `toml:"timeout"`
}

// options are what the keys say; their mistakes are reported by check.
func (k *textKeys) options() decode.Options {
	o := decode.Options{Format: cmp.Or(k.Format, "plain"), Encoding: cmp.Or(k.Encoding, "utf-8")}
	if m := k.Multiline; m != nil {
		first, err := regexp.Compile(m.First)
		if err != nil {
			return o
		}
		o.Multiline = &decode.Multiline{First: first, MaxLines: orDefault(m.MaxLines, 500),
			MaxBytes: int(orDefault(m.MaxBytes, 1<<20)),
			Timeout:  time.Duration(orDefault(m.Timeout, config.Duration(2*time.Second)))}
	}
	return o
}

func orDefault[T any](set *T, other T) T {
	if set != nil {
		return *set
	}
	return other
}

// check reports the mistakes in the keys. Over UDP there is no answer, and so no batch of
// records.
func (k *textKeys) check(at config.Table, scheme string) {
	format, all := decode.Options{Format: k.Format}, k.options()
	if err := format.Check(); err != nil {
		at.Problem("format", "%v", err)
	} else if err := all.Check(); err != nil {
		at.Problem("encoding", "%v", err)
	}
	m := k.Multiline
	if m == nil {
		return
	}
	in := at.Sub("multiline")
	if m.First == "" {
		in.Problem("first", "first is missing: what a record's first line matches, as in first = '^\\d{4}-'")
	}
	if _, err := regexp.Compile(m.First); err != nil {
		in.Problem("first", "first: %v; for the syntax (RE2) see https://golang.org/s/re2syntax", err)
	}
	in.Between("max_lines", m.MaxLines, 2, 100_000)
	in.SizeBetween("max_bytes", m.MaxBytes, 256, 1<<20)
	in.DurationAtLeast("timeout", m.Timeout, 10*time.Millisecond)
	if scheme == "udp" {
		at.Problem("multiline", "multiline does not work with udp://: a datagram holds lines, not records; use tcp://")
	}
}
