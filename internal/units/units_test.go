package units

import (
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"5s": 5 * time.Second, "2d": 48 * time.Hour, "1.5d": 36 * time.Hour, "1d12h": 36 * time.Hour, "1d1h30m": 25*time.Hour + 30*time.Minute,
		"0": 0, "0s": 0, "250ms": 250 * time.Millisecond, "30d": 720 * time.Hour, "1h30m": 90 * time.Minute,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "d", "-1d", "-5s", "1d-5s", "NaNd", "Infd", "99999999d", "36499d2560000h", "2d3d", "2 d", "off", "1w"} {
		if got, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), "invalid duration") {
			t.Errorf("%q is %v, %v; want an error", text, got, err)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"256MiB": 256 << 20, "1.5KiB": 1536, "0B": 0, "10 GiB": 10 << 30, "1TiB": 1 << 40} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "5MB", "-1KiB", "NaNKiB", "99999999TiB", "KiB", "off"} {
		if got, err := ParseSize(text); err == nil || !strings.Contains(err.Error(), "invalid size") {
			t.Errorf("%q is %d, %v; want an error", text, got, err)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "4096": 4096, "256MiB": 256 << 20} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "4096x", "1e3"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("%q is %d; want an error", text, got)
		}
	}
}
