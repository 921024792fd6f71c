package agent

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
)

const examplePath = "../../config.example.toml"

var commented = regexp.MustCompile(`^# ([a-z_]+ = .*)$`)

// optional is the header of a table that is not there unless it is wanted.
var optional = regexp.MustCompile(`^# \[+[a-z_.]+\]+$`)

// uncomment turns "# key = value" into "key = value": of all keys, or only of
// those whose text does not call the value an example, which are the defaults.
func uncomment(t *testing.T, examples bool) string {
	t.Helper()
	b, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	about, found := "", 0
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		m := commented.FindStringSubmatch(line)
		switch {
		case optional.MatchString(line) && (examples || !strings.Contains(strings.ToLower(about), "example")):
			line = line[len("# "):]
		case m != nil && (examples || !strings.Contains(strings.ToLower(about), "example")):
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
		t.Fatalf("found only %d commented keys", found)
	}
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(strings.Join(out, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLoad(t *testing.T, path string) *settings {
	t.Helper()
	s, err := (&options{config: path}).load(nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestExampleLoads(t *testing.T) {
	mustLoad(t, examplePath)
	mustLoad(t, uncomment(t, true))
}

// What the example calls a default is one: with and without it, all is the same.
func TestExampleDefaults(t *testing.T) {
	without, with := mustLoad(t, examplePath), mustLoad(t, uncomment(t, false))
	if a, b := without.tables(), with.tables(); !reflect.DeepEqual(a, b) {
		t.Errorf("the example's values are not the defaults:\nwithout them %+v\nwith them    %+v", a, b)
	}
	without.Agent.File, with.Agent.File = nil, nil
	if a, b := without.Agent, with.Agent; !reflect.DeepEqual(a, b) {
		t.Errorf("the example's values are not the defaults:\nwithout them %+v\nwith them    %+v", a, b)
	}
}

// A key that the program knows and the example does not is a key nobody finds.
func TestExampleHasEveryKey(t *testing.T) {
	var tree map[string]any
	if _, err := toml.DecodeFile(uncomment(t, true), &tree); err != nil {
		t.Fatal(err)
	}
	missing(t, "agent", tree["agent"].(map[string]any), reflect.TypeFor[agent]())
}

func missing(t *testing.T, path string, tree map[string]any, typ reflect.Type) {
	for i := range typ.NumField() {
		key := typ.Field(i).Tag.Get("toml")
		value, ok := tree[key]
		if !ok {
			t.Errorf("config.example.toml lacks %s.%s; there are %q", path, key, slices.Sorted(maps.Keys(tree)))
			continue
		}
		inner := typ.Field(i).Type
		if inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		switch value := value.(type) {
		case map[string]any:
			missing(t, path+"."+key, value, inner)
		case []map[string]any:
			missing(t, path+"."+key, value[0], inner)
		}
	}
}
