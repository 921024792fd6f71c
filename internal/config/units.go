package config

import (
	"encoding"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"fanin/internal/units"
)

// Size is a number of bytes, written with a unit: "256MiB". "off" is -1.
type Size int64

// Duration is a time span, written with a unit: "5s", "24h", "30d". "off" is 0.
type Duration time.Duration

// Mode is a file's mode in octal: "0640".
type Mode fs.FileMode

// Clock is a time of day in UTC: "03:30". Set distinguishes midnight from nothing.
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
	n, err := units.ParseSize(text)
	if err != nil {
		return fmt.Errorf("%w, or \"off\"", err)
	}
	*s = Size(n)
	return nil
}

// String is the size as a file has it.
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
	n, err := units.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%w, or \"off\"", err)
	}
	*d = Duration(n)
	return nil
}

// String is the duration as a file has it, but for days.
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
		return fmt.Errorf("invalid mode %q; want three octal digits after a 0, as in \"0640\"", b)
	}
	*m = Mode(n)
	return nil
}

// UnmarshalText reads a time of day.
func (c *Clock) UnmarshalText(b []byte) error {
	t, err := time.Parse("15:04", string(b))
	if err != nil {
		return fmt.Errorf("invalid time of day %q; want hours and minutes in UTC, as in \"03:30\"", b)
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
