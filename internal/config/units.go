package config

import (
	"encoding"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written with a unit: "256MiB". "off" is -1.
type Size int64

// Duration is a time span, written with a unit: "5s", "24h", "30d". "off" is 0.
type Duration time.Duration

// Mode is a file's mode in octal: "0640".
type Mode fs.FileMode

// Clock is a time of day in UTC: "03:30". Set tells midnight from nothing.
type Clock struct {
	After time.Duration // after midnight
	Set   bool
}

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(b []byte) error {
	text := string(b)
	if text == "off" {
		*s = -1
		return nil
	}
	for _, u := range []struct {
		name string
		size float64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"B", 1}} {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || n < 0 || n*u.size > math.MaxInt64/2 || math.IsNaN(n) {
			break
		}
		*s = Size(n * u.size)
		return nil
	}
	return fmt.Errorf("%q is no size; write a number and B, KiB, MiB, GiB or TiB, as in \"256MiB\", or \"off\"", text)
}

func (s Size) String() string {
	if s < 0 {
		return "off"
	}
	for _, u := range []struct {
		name string
		size Size
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s >= u.size && s%u.size == 0 {
			return fmt.Sprintf("%d%s", s/u.size, u.name)
		}
	}
	return fmt.Sprintf("%dB", int64(s))
}

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(b []byte) error {
	text := string(b)
	if text == "off" {
		*d = 0
		return nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err == nil && n >= 0 && n < 36500 {
			*d = Duration(n * 24 * float64(time.Hour))
			return nil
		}
	}
	n, err := time.ParseDuration(text)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no time span; write a number and ms, s, m, h or d, as in \"5s\", or \"off\"", text)
	}
	*d = Duration(n)
	return nil
}

func (d Duration) String() string {
	if d == 0 {
		return "off"
	}
	return time.Duration(d).String()
}

// UnmarshalText reads a mode.
func (m *Mode) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 8, 32)
	if err != nil || n > 0o777 || n == 0 {
		return fmt.Errorf("%q is no mode; write three octal digits behind a 0, as in \"0640\"", b)
	}
	*m = Mode(n)
	return nil
}

// UnmarshalText reads a time of day.
func (c *Clock) UnmarshalText(b []byte) error {
	t, err := time.Parse("15:04", string(b))
	if err != nil {
		return fmt.Errorf("%q is no time of day; write hours and minutes in UTC, as in \"03:30\"", b)
	}
	*c = Clock{After: time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, Set: true}
	return nil
}

// example is how a value of u's type is written.
func example(u encoding.TextUnmarshaler) string {
	switch u.(type) {
	case *Size:
		return `"256MiB"`
	case *Duration:
		return `"5s"`
	case *Mode:
		return `"0640"`
	case *Clock:
		return `"03:30"`
	}
	return `"..."`
}
