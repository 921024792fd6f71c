// Package configtest has what the tests of both programs do with the example of the
// configuration.
package configtest

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"fanin/internal/config"
)

// Example is the path of the example from a package below internal/.
const Example = "../../config.example.toml"

var (
	commented = regexp.MustCompile(`^# ([a-z_]+ = .*)$`)
	// optional is the header of a table that is not there unless it is wanted.
	optional = regexp.MustCompile(`^# \[+[a-z_.]+\]+$`)
)

// Uncomment writes the example with "key = value" for "# key = value", and returns the
// path: of all keys, or only of those whose text does not call the value an example,
// which are the defaults.
func Uncomment(t *testing.T, examples bool) string {
	t.Helper()
	b, err := os.ReadFile(Example)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	about, found := "", 0
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		m := commented.FindStringSubmatch(line)
		wanted := examples || !strings.Contains(strings.ToLower(about), "example")
		switch {
		case wanted && optional.MatchString(line):
			line = line[len("# "):]
		case wanted && m != nil:
			line = m[1]
			found++
		case m == nil && strings.HasPrefix(line, "#"):
			about += line
		case m == nil:
			about = ""
		}
		out = append(out, line)
	}
	if found < 20 {
		t.Fatalf("the example has only %d commented keys", found)
	}
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(strings.Join(out, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// HasEveryKey fails the test for every key of a program that the example lacks. table is
// the program's, and empty a pointer to its settings.
func HasEveryKey(t *testing.T, table string, empty any) {
	t.Helper()
	var tree map[string]any
	if _, err := toml.DecodeFile(Uncomment(t, true), &tree); err != nil {
		t.Fatal(err)
	}
	hasEveryKey(t, table, tree[table].(map[string]any), reflect.ValueOf(empty).Elem())
}

func hasEveryKey(t *testing.T, path string, tree map[string]any, settings reflect.Value) {
	has := func(key string, inner reflect.Value) {
		value, ok := tree[key]
		if !ok {
			t.Errorf("config.example.toml lacks %s.%s; it has %q", path, key, slices.Sorted(maps.Keys(tree)))
			return
		}
		if inner.Kind() == reflect.Map {
			return // its keys are the operator's
		}
		if k := inner.Kind(); k == reflect.Pointer || k == reflect.Slice {
			inner = reflect.New(inner.Type().Elem()).Elem()
		}
		if _, ok := inner.Addr().Interface().(config.Short); ok {
			return // its text describes the keys: the example has one form of several
		}
		if inner.Kind() == reflect.Map {
			return // its keys are the reader's choice
		}
		switch value := value.(type) {
		case map[string]any:
			if inner.Kind() == reflect.Map {
				return // its keys are the operator's
			}
			hasEveryKey(t, path+"."+key, value, inner)
		case []map[string]any:
			hasEveryKey(t, path+"."+key, value[0], inner)
		}
	}
	for i := range settings.NumField() {
		field := settings.Type().Field(i)
		switch key := field.Tag.Get("toml"); {
		case key == "*":
			list := settings.Field(i).Addr().Interface().(config.TableList)
			for _, name := range list.Names() {
				has(name, reflect.ValueOf(list.Add(name)).Elem())
			}
		case field.Anonymous:
			hasEveryKey(t, path, tree, settings.Field(i))
		case key != "":
			has(key, settings.Field(i))
		}
	}
}
