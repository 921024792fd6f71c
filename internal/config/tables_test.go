package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// port is a table of which there can be several.
type port struct {
	Listen string `toml:"listen"`
	common
}

// common is embedded in others.
type common struct {
	Rate *Size `toml:"rate"`
}

// ports are tables whose names are known only when the test runs.
type ports struct{ added []string }

func (p *ports) Names() []string { return []string{"tcp", "udp"} }

func (p *ports) Add(name string) any {
	p.added = append(p.added, name)
	return new(port)
}

type listed struct {
	Room struct {
		Level  string `toml:"level"`
		Inputs ports  `toml:"*"`
		common
	} `toml:"room"`
}

// TestTableList: tables of a list are filled in the order of the file's names, and beside
// the fields of the struct; the keys of embedded structs are the struct's own.
func TestTableList(t *testing.T) {
	var s listed
	f, err := Parse("a.toml", `
[room]
level = "info"
rate = "2KiB"
[[room.udp]]
listen = "a"
[[room.tcp]]
listen = "b"
rate = "1KiB"
[[room.tcp]]
`, &s)
	if err != nil || f.Err() != nil {
		t.Fatal(err, f.Err())
	}
	if got := s.Room.Inputs.added; !slices.Equal(got, []string{"tcp", "tcp", "udp"}) || s.Room.Level != "info" || OrZero(s.Room.Rate) != 2<<10 {
		t.Errorf("the tables are %q, and the rest %+v", got, s.Room)
	}
}

func TestTableListProblems(t *testing.T) {
	for text, want := range map[string]string{
		"[room.tcp]\n":               "there can be several: write [[room.tcp]]",
		"[room]\ntcp = 3\n":          "room.tcp is 3; there can be several: write [[room.tcp]]",
		"[[room.tpc]]\n":             `unknown key "tpc" in [room]; did you mean "tcp"?`,
		"[room]\nquite_other = 1\n":  "known are: level, rate, tcp, udp",
		"[[room.tcp]]\nliste = 1\n":  `a.toml:2: unknown key "liste" in [[room.tcp]]; did you mean "listen"?`,
		"[[room.udp]]\nrate = 5\n":   "a.toml:2: rate is 5 without a unit",
		"[[room.udp]]\nrate = '5s'":  `invalid size "5s"`,
		"[room]\n\"*\" = 1\n":        `unknown key "*"`,
		"[[room.tcp]]\ncommon = 1\n": `unknown key "common"`,
	} {
		var s listed
		f, err := Parse("a.toml", text, &s)
		if err == nil {
			err = f.Err()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestTable: each check reports values outside of its range, at the key, and no others.
func TestTable(t *testing.T) {
	num, size, long := func(n int) *int { return &n }, func(n Size) *Size { return &n }, func(d time.Duration) *Duration { return (*Duration)(&d) }
	for want, check := range map[string]func(Table){
		`level is "loud"; want one of ["info" "debug"]`:         func(t Table) { t.OneOf("level", "loud", "info", "debug") },
		`n is 0; want at least 1`:                               func(t Table) { t.AtLeast("n", num(0), 1) },
		`n is -2; want at least 1, or -1 for no limit`:          func(t Table) { t.Bound("n", num(-2)) },
		`n is 0; want at least 1, or -1 for no limit`:           func(t Table) { t.Bound("n", num(0)) },
		`n is 6; want 1 to 5`:                                   func(t Table) { t.Between("n", num(6), 1, 5) },
		`size is 1KiB; want 2KiB to 1MiB`:                       func(t Table) { t.SizeBetween("size", size(1<<10), 2<<10, 1<<20) },
		`size is 1KiB; want at least 2KiB, or "off"`:            func(t Table) { t.SizeOrOff("size", size(1<<10), 2<<10) },
		`wait is 5s; want at least 1m0s`:                        func(t Table) { t.DurationAtLeast("wait", long(5*time.Second), time.Minute) },
		`a.toml:2: the table has no effect` + "\n    2 | [[x]]": func(t Table) { t.Problem("", "the table has no effect") },
		`a.toml:4: deep` + "\n    4 | deep = 1":                 func(t Table) { t.Sub("sub").Problem("deep", "deep") },
		`a.toml:5: other` + "\n    5 | [[x]]":                   func(t Table) { t.At("x[1]", "other") },
	} {
		f, err := Parse("a.toml", "\n[[x]]\n[x.sub]\ndeep = 1\n[[x]]\n", new(struct{}))
		if err != nil {
			t.Fatal(err)
		}
		f.problems = nil // the keys are unknown
		check(f.Table("x[0]"))
		if err := f.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it reports %v, want %s", err, want)
		}
	}
	f, err := Parse("a.toml", "", new(struct{}))
	if err != nil {
		t.Fatal(err)
	}
	at := f.Table("x")
	at.OneOf("k", "a", "a", "b")
	at.AtLeast("k", nil, 1)
	at.AtLeast("k", num(1), 1)
	at.Bound("k", nil)
	at.Bound("k", num(-1))
	at.Bound("k", num(1))
	at.Between("k", nil, 1, 5)
	at.Between("k", num(5), 1, 5)
	at.SizeBetween("k", nil, 1, 5)
	at.SizeBetween("k", size(1), 1, 5)
	at.SizeOrOff("k", nil, 5)
	at.SizeOrOff("k", size(-1), 5)
	at.SizeOrOff("k", size(5), 5)
	at.DurationAtLeast("k", nil, time.Minute)
	at.DurationAtLeast("k", long(time.Minute), time.Minute)
	if err := f.Err(); err != nil {
		t.Errorf("good values are reported: %v", err)
	}
}
