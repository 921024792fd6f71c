package config

import (
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"
)

type sample struct {
	Agent struct {
		ID    string   `toml:"id"`
		Limit Size     `toml:"max_line"`
		Wait  Duration `toml:"wait"`
		Mode  Mode     `toml:"mode"`
		At    Clock    `toml:"at"`
		On    bool     `toml:"on"`
		N     int      `toml:"n"`
		To    []string `toml:"to"`
		TLS   *struct {
			Cert string `toml:"cert"`
		} `toml:"tls"`
		File []struct {
			Paths []string `toml:"paths"`
			From  string   `toml:"from"`
		} `toml:"file"`
	} `toml:"agent"`
}

func TestGood(t *testing.T) {
	var s sample
	f, err := Parse("a.toml", `
[collector]
unknown = "key"
[agent]
id = "web"
max_line = "64KiB"
wait = "30d"
mode = "0640"
at = "03:30"
on = true
n = 3
to = ["tcp://a:1", "tcp://b:2"]
tls = {cert = "c.pem"}
[[agent.file]]
paths = ["/a"]
[[agent.file]]
from = "end"
`, &s, "collector")
	if err != nil || f.Err() != nil {
		t.Fatal(err, f.Err())
	}
	a := s.Agent
	if a.ID != "web" || a.Limit != 64<<10 || time.Duration(a.Wait) != 720*time.Hour || fs.FileMode(a.Mode) != 0o640 ||
		a.At != (Clock{3*time.Hour + 30*time.Minute, true}) || !a.On || a.N != 3 || a.TLS == nil || a.TLS.Cert != "c.pem" ||
		!reflect.DeepEqual(a.To, []string{"tcp://a:1", "tcp://b:2"}) || len(a.File) != 2 || a.File[1].From != "end" {
		t.Errorf("read %+v", a)
	}
}

func problems(text string) string {
	var s sample
	f, err := Parse("a.toml", text, &s, "collector")
	if err == nil {
		err = f.Err()
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestProblems(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := problems(text); got != strings.TrimPrefix(want, "\n") {
			t.Errorf("%s\ngot\n%s\nwant\n%s", text, got, want)
		}
	}
	f("[agent]\nmax_lin = \"5KiB\"\n", `
a.toml:2: unknown key "max_lin" in [agent]; did you mean "max_line"?
    2 | max_lin = "5KiB"
      | ^^^^^^^`)
	f("[agent]\n  Wait = \"5s\"\n", `
a.toml:2: unknown key "Wait" in [agent]; did you mean "wait"?
    2 |   Wait = "5s"
      |   ^^^^`)
	f("[agent]\nwait = 5\n[[agent.file]]\nfrom = 1\npath = [\"x\"]\n", `
a.toml:2: wait is 5 without a unit; write it in quotes, as in "5s"
    2 | wait = 5
      | ^^^^
a.toml:4: from is 1; want a string in quotes
    4 | from = 1
      | ^^^^
a.toml:5: unknown key "path" in [[agent.file]]; did you mean "paths"?
    5 | path = ["x"]
      | ^^^^`)
	f("[agent]\ntls = {cert = \"a\", kee = \"b\"}\n", `
a.toml:2: unknown key "kee" in [agent.tls]; known are: cert
    2 | tls = {cert = "a", kee = "b"}
      |                    ^^^`)
	f("[agent]\nto = [\n \"a=b\",\n]\nmode = \"rw\"\n", `
a.toml:5: mode: invalid mode "rw"; want three octal digits after a 0, as in "0640"
    5 | mode = "rw"
      | ^^^^`)
	f("[agent]\nid = \"a\nn = 1\n", `
a.toml:2: strings cannot contain newlines
    2 | id = "a
      |        ^`)
	f("[agnt]\n", `
a.toml:1: unknown key "agnt" at the top of the file; did you mean "agent"?
    1 | [agnt]
      | ^^^^^^`)
	f("[agent.file]\nfrom = \"x\"\n", `
a.toml:1: agent.file is a table; there can be several: write [[agent.file]]
    1 | [agent.file]
      | ^^^^^^^^^^^^`)
	f("[agent]\nid = '''\nwait = 5\n'''\nat = \"25:00\"", `
a.toml:5: at: invalid time of day "25:00"; want hours and minutes in UTC, as in "03:30"
    5 | at = "25:00"
      | ^^`)
}

func TestSizeText(t *testing.T) {
	for text, want := range map[string]Size{"256MiB": 256 << 20, "1.5KiB": 1536, "0B": 0, "off": -1, "10 GiB": 10 << 30} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q is %d, %v; want %d", text, s, err, want)
		}
	}
	for _, text := range []string{"", "5", "5MB", "-1KiB", "NaNKiB", "99999999TiB", "KiB"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken for %d", text, s)
		}
	}
}

// TestNoLogins: the line that is quoted below a mistake shows no login of an address.
func TestNoLogins(t *testing.T) {
	f, err := Parse("a.toml", "[agent]\nid = \"redis://app:s3cret@h\" # nats://u:s3cret@i, 'u:s3cret@i'\n", new(sample))
	if err != nil {
		t.Fatal(err)
	}
	f.Table("agent").Problem("id", "wrong")
	got := f.Err().Error()
	if strings.Contains(got, "s3cret") || !strings.Contains(got, `id = "redis://..........@h" # nats://........@i, '........@i'`) {
		t.Errorf("it is printed as\n%s", got)
	}
}
