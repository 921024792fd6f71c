package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// environ is a struct with a field of each kind.
type environ struct {
	A struct {
		S    string    `toml:"s"`
		Key  string    `toml:"server_key"`
		URL  string    `toml:"url"`
		List []string  `toml:"list"`
		One  OneOrMore `toml:"one"`
		N    int       `toml:"n"`
		More *int      `toml:"more"`
		On   bool      `toml:"on"`
		Wait Duration  `toml:"wait"`
		Size *Size     `toml:"size"`
		Sub  []struct {
			S string `toml:"s"`
		} `toml:"sub"`
	} `toml:"a"`
}

// TestEnvironment: the variables in every kind of value, and what is none.
func TestEnvironment(t *testing.T) {
	t.Setenv("X", "value")
	t.Setenv("EMPTY", "")
	t.Setenv("BRACES", "}${X}{\"'\n[agent]")
	t.Setenv("N", "42")
	t.Setenv("ON", "true")
	f := func(text, want string) {
		t.Helper()
		var e environ
		file, err := Parse("a.toml", "[a]\ns = '"+text+"'\n", &e)
		if err != nil || file.Err() != nil || e.A.S != want {
			t.Errorf("%s is %q, %v, %v; want %q", text, e.A.S, err, file.Err(), want)
		}
	}
	f("${X}", "value")
	f("a${X}b${X}c", "avaluebvaluec")
	f("${NOT_SET:-default}", "default")
	f("${NOT_SET:-}", "")
	f("${EMPTY}", "")
	f("${EMPTY:-default}", "default")
	f("${X:-default}/x", "value/x")
	f("${X:-${NOT_SET}}/x", "value/x")
	f("${NOT_SET:-${X}}/x", "value/x")
	f("${NOT_SET:-/{a,b}/${X}}/x", "/{a,b}/value/x")
	f("${NOT_SET:-$${X}}/x", "${X}/x")
	f("$${X}", "${X}")
	f("$$${X}", "$${X}")
	f("$X $1 $ {a,b} } ^\\d{4}-$", "$X $1 $ {a,b} } ^\\d{4}-$")
	f("{${X}}", "{value}")
	f("${BRACES}", os.Getenv("BRACES")) // it is not looked at again, and is no TOML
	f("${NOT_SET:-:-}", ":-")

	var e environ
	file, err := Parse("a.toml", "[a]\nlist = [\"${X}\", \"b\", \"${N}\"]\none = \"${X}\"\nn = \"${N}\"\nmore = \"${NOT_SET:-7}\"\non = \"${ON}\"\nwait = \"${N}s\"\n"+
		"size = \"${NOT_SET:-1MiB}\"\nsub = [{s = \"${X}\"}]\n[other]\ns = \"${NOT_SET}\"\n", &e, "other")
	if err != nil || file.Err() != nil {
		t.Fatal(err, file.Err())
	}
	a := e.A
	if !reflect.DeepEqual(a.List, []string{"value", "b", "42"}) || a.One[0] != "value" || a.N != 42 || *a.More != 7 || !a.On ||
		time.Duration(a.Wait) != 42*time.Second || *a.Size != 1<<20 || a.Sub[0].S != "value" {
		t.Errorf("read %+v", a)
	}
}

// TestEnvironmentProblems: each mistake with its line and what to do about it, and nothing that
// follows from it.
func TestEnvironmentProblems(t *testing.T) {
	t.Setenv("N", "many")
	t.Setenv("BAD", "\xff")
	f := func(text, want string) {
		t.Helper()
		var e environ
		file, err := Parse("a.toml", text, &e)
		if err != nil {
			t.Fatal(err)
		}
		file.Problem("a.wait", "follows from the mistake")
		file.Problem("a.list", "follows from the mistake")
		if got := file.Err().Error(); got != strings.TrimPrefix(want, "\n") {
			t.Errorf("%s\ngot\n%s\nwant\n%s", text, got, want)
		}
	}
	f("[a]\nlist = ['x', '${NOT_SET}']\nwait = '${NOT_SET}m'\n", `
a.toml:2: list: the environment variable NOT_SET is not set; set it for this program, or write a default, as in ${NOT_SET:-default}
    2 | list = ['x', '${NOT_SET}']
      |              ^^^^^^^^^^^^
a.toml:3: wait: the environment variable NOT_SET is not set; set it for this program, or write a default, as in ${NOT_SET:-default}
    3 | wait = '${NOT_SET}m'
      | ^^^^`)
	const no = ` is no variable; want ${NAME} or ${NAME:-default}, with a NAME of letters, digits and '_', and $${ for the characters ${`
	for _, text := range []string{"${}", "${1A}", "${NAME", "${NAME-x}", "${NAME:=x}", "${NAME:?x}", "${A B}", "${"} {
		f("[a]\nwait = '"+text+"'\nlist = ['${NOT_SET:-${}']", "a.toml:2: wait: \""+text+"\""+no+"\n    2 | wait = '"+text+"'\n      | ^^^^\n"+
			"a.toml:3: list: \"${}\""+no+"\n    3 | list = ['${NOT_SET:-${}']\n      |         ^^^^^^^^^^^^^^^^")
	}
	f("[a]\nwait = '${NOT_SET:-{x}'\nlist = ['${N:-x']\nn = '${N}'", `
a.toml:2: wait: "${" without a "}" after it; want ${NAME} or ${NAME:-default}, and $${ for the characters ${
    2 | wait = '${NOT_SET:-{x}'
      | ^^^^
a.toml:3: list: "${" without a "}" after it; want ${NAME} or ${NAME:-default}, and $${ for the characters ${
    3 | list = ['${N:-x']
      |         ^^^^^^^^
a.toml:4: n is the string "many"; want a whole number without quotes
    4 | n = '${N}'
      | ^`)
	f("[a]\nwait = '${BAD}'\nlist = ['"+strings.Repeat("${X:-", 9)+strings.Repeat("}", 9)+"']", `
a.toml:2: wait: the value of the environment variable BAD is not UTF-8
    2 | wait = '${BAD}'
      | ^^^^
a.toml:3: list: more than 8 defaults are inside each other
    3 | list = ['`+strings.Repeat("${X:-", 9)+strings.Repeat("}", 9)+`']
      |         `+strings.Repeat("^", 56))
}

// TestEnvironmentSecrets: a value that is a secret is in no message, in whatever key it is.
func TestEnvironmentSecrets(t *testing.T) {
	t.Setenv("APP_PASSWORD", "hunter2\"x")
	t.Setenv("WORD", "letmein")
	t.Setenv("ADDRESS", "redis://app:sesame@h")
	t.Setenv("POD", "web 1")
	var e environ
	file, err := Parse("a.toml", "[a]\ns = '${APP_PASSWORD}'\nwait = '${APP_PASSWORD}'\nurl = 'nats://u:${WORD}@h'\n"+
		"server_key = '${WORD}'\nlist = ['${ADDRESS}', '${POD}']\nsub = [{s = '${POD}'}]\n", &e)
	if err != nil {
		t.Fatal(err)
	}
	file.Problem("a.s", "s is %q", e.A.S)
	file.Problem("a.s", "s is %s", e.A.S)
	file.Problem("a.url", "url is %q", e.A.URL)
	file.Problem("a.server_key", "server_key is %q", e.A.Key)
	file.Problem("a.list", "list is %q", e.A.List)
	got := file.Err().Error()
	for _, secret := range []string{"hunter2", "letmein", "sesame"} {
		if strings.Contains(got, secret) {
			t.Errorf("%s is shown:\n%s", secret, got)
		}
	}
	for _, want := range []string{"s is \"${APP_PASSWORD}\"", "url is \"nats://u:${WORD}@h\"", "list is [\"${ADDRESS}\" \"web 1\"]"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
}

// FuzzEnvironment: no text makes it hang or fail, and without a dollar sign it is what it was.
func FuzzEnvironment(f *testing.F) {
	for _, seed := range []string{"${X}", "${X:-${Y:-}}", "$${X}", "${X:-{}}", "${", "}", "$$$${{}}${X:-", "a{b,c}"} {
		f.Add(seed, "value")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		if strings.ContainsRune(value, 0) {
			return
		}
		t.Setenv("X", value)
		e := newEnvironment()
		got := e.text("a.s", text)
		if !strings.Contains(text, "$") && got != text {
			t.Fatalf("%q became %q", text, got)
		}
		if text == "${X}" && len(e.problems) == 0 && got != value {
			t.Fatalf("the value %q became %q", value, got)
		}
		for _, p := range e.problems {
			if !strings.HasPrefix(p.Text, "s: ") {
				t.Fatalf("%q: %s", text, p.Text)
			}
		}
	})
}
