package config

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

// TestPlaces: the same mistake in every way that TOML has to write a key, each
// with the line that it is in.
func TestPlaces(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := problems(text); got != strings.TrimPrefix(want, "\n") {
			t.Errorf("%s\ngot\n%s\nwant\n%s", text, got, want)
		}
	}
	f("agent.n = 'x'\nagent.tls.cert = 1\n", `
a.toml:1: n is the string "x"; want a whole number without quotes
    1 | agent.n = 'x'
      | ^^^^^^^
a.toml:2: cert is 1; want a string in quotes
    2 | agent.tls.cert = 1
      | ^^^^^^^^^^^^^^`)
	f("[agent]\n\"id\" = 5\n'on' = 1\n\"a=b\" = 1\n", `
a.toml:2: id is 5; want a string in quotes
    2 | "id" = 5
      | ^^^^
a.toml:3: on is 1; want true or false
    3 | 'on' = 1
      | ^^^^
a.toml:4: unknown key "a=b" in [agent]; known are: at, file, id, max_line, mode, n, on, tls, to, wait
    4 | "a=b" = 1
      | ^^^^^`)
	f("[agent]\nfile = [{paths = ['a']}, {from = 1},\n  {form = 'x'}]\n", `
a.toml:2: from is 1; want a string in quotes
    2 | file = [{paths = ['a']}, {from = 1},
      |                           ^^^^
a.toml:3: unknown key "form" in [[agent.file]]; did you mean "from"?
    3 |   {form = 'x'}]
      |    ^^^^`)
	f("[agent]\ntls = {\n  cert = 5,\n}\n", `
a.toml:3: cert is 5; want a string in quotes
    3 |   cert = 5,
      |   ^^^^`)
	f("[agent]\nto = [ # some\n  'a', # one\n  5]\n", `
a.toml:4: to is 5; want a string in quotes
    4 |   5]
      |   ^`)
	f("[agent]\nid = \"\"\"a\\\"\"\"\nwait = 1\n\"\"\"\"\"\nwait = 5\n", `
a.toml:5: wait is 5 without a unit; write it in quotes, as in "5s"
    5 | wait = 5
      | ^^^^`)
	f("[agent]\nid = '[{' # ]]\nwait = 5 # '''\n", `
a.toml:3: wait is 5 without a unit; write it in quotes, as in "5s"
    3 | wait = 5 # '''
      | ^^^^`)
	f("\ufeff[agent]\r\n\twait = 5\r\n", `
a.toml:2: wait is 5 without a unit; write it in quotes, as in "5s"
    2 |  wait = 5
      |  ^^^^`)
	f("[agent]\ntls = {cert = \"üé\", kee = 2}\n", `
a.toml:2: unknown key "kee" in [agent.tls]; known are: cert
    2 | tls = {cert = "üé", kee = 2}
      |                     ^^^`)
	f("[[agent]]\nid = 'x'\n", `
a.toml:1: agent is a list of tables; it is a table: write [agent]
    1 | [[agent]]
      | ^^^^^^^^^`)
	f("[agnt.tls]\n", `
a.toml:1: unknown key "agnt" at the top of the file; did you mean "agent"?
    1 | [agnt.tls]
      | ^^^^^^^^^^`)
	f("[agent]\nat = 07:32:00\nwait = true\n", `
a.toml:2: at is a date or time; write it in quotes, as in "03:30"
    2 | at = 07:32:00
      | ^^
a.toml:3: wait is true; write it in quotes, as in "5s"
    3 | wait = true
      | ^^^^`)
}

// TestSyntax: what is no TOML at all stops the reading, at its line.
func TestSyntax(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := problems(text); got != strings.TrimPrefix(want, "\n") {
			t.Errorf("%s\ngot\n%s\nwant\n%s", text, got, want)
		}
	}
	f("[agent]\nid = 'a'\n  id = 'b'\n", `
a.toml:3: agent.id is there twice; the first is in line 2
    3 |   id = 'b'
      |   ^^`)
	f("[agent]\n[agent]\n", `
a.toml:2: agent is there twice; the first is in line 1
    2 | [agent]
      | ^^^^^^^`)
	f("[agent]\nwait = 5m # minutes\n", `
a.toml:2: a value with a unit is written in quotes: wait = "5m"
    2 | wait = 5m # minutes
      | ^^^^`)
	f("[agent]\nid = '\x1b[31m'\n", `
a.toml:2: TOML files cannot contain control characters: '0x1b'
    2 | id = '?[31m'
      |      ^`)
	f("[agent]\nid =\n", `
a.toml:2: expected value but found '\n' instead
    2 | id =
      |     ^`)
}

// TestOwnProblems: what a program finds wrong stands among the rest, at its key
// or at the nearest table around it.
func TestOwnProblems(t *testing.T) {
	var s sample
	file, err := Parse("a.toml", "[agent]\nn = 'x'\n[[agent.file]]\n[[agent.file]]\nfrom = 'middle'\n", &s)
	if err != nil {
		t.Fatal(err)
	}
	file.Problem("agent.file[1].from", "from is %q", "middle")
	file.Problem("agent.file[0].paths", "paths is missing")
	file.Problem("elsewhere", "no such place")
	want := `a.toml: no such place
a.toml:2: n is the string "x"; want a whole number without quotes
    2 | n = 'x'
      | ^
a.toml:3: paths is missing
    3 | [[agent.file]]
      | ^^^^^^^^^^^^^^
a.toml:5: from is "middle"
    5 | from = 'middle'
      | ^^^^`
	if got := file.Err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	flags := new(File) // there is no file
	flags.Problem("agent.id", "id is missing")
	if got := flags.Err().Error(); got != "command line: id is missing" {
		t.Errorf("got %s", got)
	}
}

func TestUnitTexts(t *testing.T) {
	duration := func(text string, want time.Duration, good bool) {
		t.Helper()
		var d Duration
		if err := d.UnmarshalText([]byte(text)); (err == nil) != good || good && time.Duration(d) != want {
			t.Errorf("%q is %v, %v; want %v", text, d, err, want)
		}
	}
	duration("250ms", 250*time.Millisecond, true)
	duration("1h30m", 90*time.Minute, true)
	duration("30d", 720*time.Hour, true)
	duration("0.5d", 12*time.Hour, true)
	duration("off", 0, true)
	for _, bad := range []string{"", "5", "-5s", "NaNd", "infd", "99999d", "1y", "5 s"} {
		duration(bad, 0, false)
	}
	mode := func(text string, want fs.FileMode, good bool) {
		t.Helper()
		var m Mode
		if err := m.UnmarshalText([]byte(text)); (err == nil) != good || good && fs.FileMode(m) != want {
			t.Errorf("%q is %o, %v; want %o", text, m, err, want)
		}
	}
	mode("0640", 0o640, true)
	for _, bad := range []string{"", "0", "0999", "rw-r-----", "01777", "-1"} {
		mode(bad, 0, false)
	}
	clock := func(text string, want time.Duration, good bool) {
		t.Helper()
		var c Clock
		if err := c.UnmarshalText([]byte(text)); (err == nil) != good || good && c != (Clock{want, true}) {
			t.Errorf("%q is %v, %v; want %v", text, c, err, want)
		}
	}
	clock("00:00", 0, true)
	clock("23:59", 24*time.Hour-time.Minute, true)
	for _, bad := range []string{"", "24:00", "12", "12:60", "noon", "12:00:00"} {
		clock(bad, 0, false)
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	var s sample
	if _, err := Load("no/such.toml", &s); err == nil || !strings.Contains(err.Error(), "no/such.toml") {
		t.Errorf("got %v", err)
	}
}

// FuzzParse: no text makes it fail in another way than by an error that names a
// place, and every key that the parser finds is found in the text too.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "[agent]\nid=1", "[[agent.file]]\npaths=[1,\n2]", "agent.id = 'x'", "[agent]\ntls={a={b=1}}", "a.\"b c\".d = 1", "x = \"\"\"\n\"\"\"",
		"[a]\nb = [[1, 2], [{c = 1}]] # x\n[[a.d]]\n[[a.d.e]]\nf = 1", "a = '''''''''\nb = 1979-05-27T07:32:00Z", "\"\\u0041\".b = 'x'\r\n", "a = {\n b = 1, # c\n}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if msg := problems(text); msg != "" && !strings.HasPrefix(msg, "a.toml") {
			t.Fatalf("%q: %s", text, msg)
		}
		text = strings.TrimPrefix(text, "\ufeff")
		var tree map[string]any
		if _, err := toml.Decode(text, &tree); err != nil || strings.Count(text, "[")+strings.Count(text, "{") > maxDepth {
			return
		}
		placed(t, text, "", tree, &File{lines: strings.Split(text, "\n"), index: scan(text)})
	})
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func placed(t *testing.T, text, path string, value any, file *File) {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			at, ok := file.index[child(path, key)]
			if !ok {
				t.Fatalf("%q: no place for %q; there are %v", text, child(path, key), file.index)
			}
			if bareKey.MatchString(key) && !strings.Contains(text, `\`) && !strings.Contains(file.lines[at.line-1], key) {
				t.Fatalf("%q: %q is said to be in line %d", text, child(path, key), at.line)
			}
			placed(t, text, child(path, key), inner, file)
		}
	case []map[string]any:
		for i, inner := range value {
			placed(t, text, element(path, i), inner, file)
		}
	case []any:
		for i, inner := range value {
			placed(t, text, element(path, i), inner, file)
		}
	}
}
