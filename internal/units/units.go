// Package units reads durations and sizes as people write them. Every place where the
// programs take one, in files, flags and queries, uses it: so "2d" works everywhere.
package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	day     = 24 * time.Hour
	maxDays = 36500
)

// ParseDuration reads a duration that is not negative: what time.ParseDuration reads,
// with days before it, as in "2d", "1.5d" or "1d12h".
func ParseDuration(text string) (time.Duration, error) {
	d, ok := parseDuration(text)
	if !ok {
		return 0, fmt.Errorf("invalid duration %q; want a number and ms, s, m, h or d, as in \"5s\"", text)
	}
	return d, nil
}

func parseDuration(text string) (d time.Duration, ok bool) {
	days, rest, ok := strings.Cut(text, "d")
	if !ok {
		rest = text
	} else {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || !(n >= 0 && n < maxDays) {
			return 0, false
		}
		d = time.Duration(n * float64(day))
		if rest == "" {
			return d, true
		}
	}
	r, err := time.ParseDuration(rest)
	if err != nil || r < 0 || r > math.MaxInt64-d {
		return 0, false
	}
	return d + r, true
}

// ParseSize reads a number of bytes with its unit, as in "256MiB".
func ParseSize(text string) (int64, error) {
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
		return int64(n * u.size), nil
	}
	return 0, fmt.Errorf("invalid size %q; want a number and B, KiB, MiB, GiB or TiB, as in \"256MiB\"", text)
}

// ParseBytes reads a size, or a plain number of bytes.
func ParseBytes(text string) (int64, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		return n, nil
	}
	return ParseSize(text)
}
