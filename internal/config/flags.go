package config

import (
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"fanin/internal/units"
)

// NewDuration returns a flag's value: a duration, written as in a file. A negative one is
// not set.
func NewDuration(p *time.Duration) pflag.Value { return (*durationFlag)(p) }

// DurationVar defines a flag for a duration, written as in a file: "5s", "2d".
func DurationVar(f *pflag.FlagSet, p *time.Duration, name string, value time.Duration, usage string) {
	*p = value
	f.Var((*durationFlag)(p), name, usage)
}

type durationFlag time.Duration

// Set implements pflag.Value.
func (d *durationFlag) Set(text string) error {
	v, err := units.ParseDuration(text)
	*d = durationFlag(v)
	return err
}

// String implements pflag.Value. Neither zero nor what is not set is shown as a default.
func (d *durationFlag) String() string {
	if *d <= 0 {
		return ""
	}
	return time.Duration(*d).String()
}

// Type implements pflag.Value.
func (d *durationFlag) Type() string { return "duration" }

// BytesVar defines a flag for a number of bytes, with a unit or without.
func BytesVar(f *pflag.FlagSet, p *int64, name string, value int64, usage string) {
	*p = value
	f.Var((*bytesFlag)(p), name, usage)
}

type bytesFlag int64

// Set implements pflag.Value.
func (n *bytesFlag) Set(text string) error {
	v, err := units.ParseBytes(text)
	*n = bytesFlag(v)
	return err
}

// String implements pflag.Value. A negative number, which is "not set", is not shown.
func (n *bytesFlag) String() string {
	if *n < 0 {
		return ""
	}
	return strconv.FormatInt(int64(*n), 10)
}

// Type implements pflag.Value.
func (n *bytesFlag) Type() string { return "bytes" }
