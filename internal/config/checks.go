package config

import (
	"cmp"
	"slices"
	"time"
)

// Table reports the mistakes in one table of a file, by the keys in it.
type Table struct {
	file *File
	Path string // as in "collector.tcp[0]"
}

// Table returns the table at a path.
func (f *File) Table(path string) Table { return Table{f, path} }

// Sub returns a table within this one.
func (t Table) Sub(key string) Table { return Table{t.file, child(t.Path, key)} }

// Problem reports a mistake at a key, or in the table as a whole if key is "".
func (t Table) Problem(key, format string, args ...any) {
	path := t.Path
	if key != "" {
		path = child(path, key)
	}
	t.file.Problem(path, format, args...)
}

// At reports a mistake at a path, which may be in another table.
func (t Table) At(path, format string, args ...any) { t.file.Problem(path, format, args...) }

// OneOf reports a value that is none of the known ones.
func (t Table) OneOf(key, value string, known ...string) {
	if !slices.Contains(known, value) {
		t.Problem(key, "%s is %q; want one of %q", key, value, known)
	}
}

// AtLeast reports a number below least. nil is not set.
func (t Table) AtLeast(key string, n *int, least int) {
	if n != nil && *n < least {
		t.Problem(key, "%s is %d; want at least %d", key, *n, least)
	}
}

// Bound reports a number that is no bound: at least 1, or -1 for none. nil is not set.
func (t Table) Bound(key string, n *int) {
	if n != nil && *n < 1 && *n != -1 {
		t.Problem(key, "%s is %d; want at least 1, or -1 for no limit", key, *n)
	}
}

// Between reports a number outside of a range. nil is not set.
func (t Table) Between(key string, n *int, least, most int) {
	if n != nil && (*n < least || *n > most) {
		t.Problem(key, "%s is %d; want %d to %d", key, *n, least, most)
	}
}

// SizeBetween reports a size outside of a range. nil is not set.
func (t Table) SizeBetween(key string, n *Size, least, most Size) {
	if n != nil && (*n < least || *n > most) {
		t.Problem(key, "%s is %s; want %s to %s", key, *n, least, most)
	}
}

// SizeOrOff reports a size below least that is not "off". nil is not set.
func (t Table) SizeOrOff(key string, n *Size, least Size) {
	if n != nil && *n >= 0 && *n < least {
		t.Problem(key, "%s is %s; want at least %s, or \"off\"", key, *n, least)
	}
}

// DurationAtLeast reports a duration below least. nil is not set.
func (t Table) DurationAtLeast(key string, d *Duration, least time.Duration) {
	if d != nil && time.Duration(*d) < least {
		t.Problem(key, "%s is %s; want at least %s", key, *d, Duration(least))
	}
}

// OrZero is *p, or the zero value where p is not set.
func OrZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// Or is *p, or value where p is not set.
func Or[T any](p *T, value T) T { return *cmp.Or(p, &value) }
