package config

import (
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// binder fills structs from a decoded tree and reports what does not fit. Fields are named by
// their toml tag; one without a tag cannot be set from a file.
type binder struct {
	problems []KeyProblem
	env      *environment
}

func structOf(into any) reflect.Value { return reflect.ValueOf(into).Elem() }

func (b *binder) problem(path, format string, args ...any) {
	b.problems = append(b.problems, KeyProblem{path, fmt.Sprintf(format, args...)})
}

// TableList is a field for tables whose names are known only when the program runs:
// there may be several of each, written as [[name]]. Its tag is "*".
type TableList interface {
	// Names are the names of the tables.
	Names() []string
	// Add appends an empty table and returns a pointer to the struct to fill.
	Add(name string) any
}

// Short is a table that a file may also write as a string, or as a list of strings.
type Short interface {
	SetShort(values []string)
}

// short sets such a table. ok is false if the value is neither a string nor a list of strings.
func (b *binder) short(path string, value any, v reflect.Value) (ok bool) {
	s, ok := v.Addr().Interface().(Short)
	if !ok {
		return false
	}
	switch value := value.(type) {
	case string:
		s.SetShort([]string{value})
	case []any:
		var all []string
		b.slice(path, value, reflect.ValueOf(&all).Elem())
		s.SetShort(all)
	default:
		return false
	}
	return true
}

func (b *binder) table(path string, tree map[string]any, v reflect.Value) {
	fields := fieldsOf(v)
	var named []string
	list, _ := listOf(v)
	if list != nil {
		named = list.Names()
	}
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		at := child(path, key)
		field, ok := fields[key]
		switch {
		case ok:
			b.value(at, tree[key], field)
		case slices.Contains(named, key):
			b.list(at, tree[key], func() any { return list.Add(key) })
		default:
			b.unknown(path, key, slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(fields)), named...))))
		}
	}
}

// fieldsOf are the fields of a struct by their tags, those of embedded structs included.
func fieldsOf(v reflect.Value) map[string]reflect.Value {
	fields := make(map[string]reflect.Value)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if tag := f.Tag.Get("toml"); tag != "" && tag != "-" && tag != "*" {
			fields[tag] = v.Field(i)
		}
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			maps.Copy(fields, fieldsOf(v.Field(i)))
		}
	}
	return fields
}

// listOf is the struct's field for tables of many names, if it has one.
func listOf(v reflect.Value) (TableList, bool) {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("toml") == "*" {
			list, ok := v.Field(i).Addr().Interface().(TableList)
			return list, ok
		}
	}
	return nil, false
}

// list fills one struct for each table of a list.
func (b *binder) list(path string, value any, add func() any) {
	list, ok := value.([]map[string]any)
	if !ok {
		b.problem(path, "%s is %s; there can be several: write [[%s]]", path, kind(value), path)
		return
	}
	for i, tree := range list {
		b.table(element(path, i), tree, structOf(add()))
	}
}

func (b *binder) unknown(path, key string, known []string) {
	where := "at the top of the file"
	if path != "" {
		where = "in " + header(path)
	}
	if s := suggest(key, known); s != "" {
		b.problem(child(path, key), "unknown key %q %s; did you mean %q?", key, where, s)
		return
	}
	b.problem(child(path, key), "unknown key %q %s; known are: %s", key, where, strings.Join(known, ", "))
}

// value sets v from a decoded value. Pointers are made: nil means "not set".
func (b *binder) value(path string, value any, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		b.value(path, value, p.Elem())
		v.Set(p)
		return
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		b.text(path, value, u)
		return
	}
	value = b.env.typed(path, value, v.Kind().String())
	switch v.Kind() {
	case reflect.Struct:
		if tree, ok := value.(map[string]any); ok {
			b.table(path, tree, v)
			return
		}
		if b.short(path, value, v) {
			return
		}
		b.noTable(path, value)
	case reflect.Map:
		b.strings(path, value, v)
	case reflect.Slice:
		b.slice(path, value, v)
	case reflect.String:
		set(b, path, value, v.SetString, "a string in quotes")
	case reflect.Bool:
		set(b, path, value, v.SetBool, "true or false")
	case reflect.Int, reflect.Int64:
		set(b, path, value, v.SetInt, "a whole number without quotes")
	default:
		b.problem(path, "%s cannot be set from a file", path)
	}
}

// noTable reports a value in the place of a table.
func (b *binder) noTable(path string, value any) {
	if strings.Contains(path, "]") { // of a list of tables: it has no name of its own
		key := path[strings.LastIndexByte(path, '.')+1:]
		b.problem(path, "%s is %s; it is a table: write %s = {...}", key, kind(value), key)
		return
	}
	b.problem(path, "%s is %s; it is a table: write [%s]", path, kind(value), path)
}

// strings fills a map of strings, whose keys the file chooses.
func (b *binder) strings(path string, value any, v reflect.Value) {
	tree, ok := value.(map[string]any)
	if !ok {
		b.noTable(path, value)
		return
	}
	all := make(map[string]string)
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		if all[key], ok = tree[key].(string); !ok {
			b.problem(child(path, key), "%q is %s; want a string in quotes", key, kind(tree[key]))
		}
	}
	v.Set(reflect.ValueOf(all))
}

func set[T any](b *binder, path string, value any, set func(T), want string) {
	if x, ok := value.(T); ok {
		set(x)
		return
	}
	b.problem(path, "%s is %s; want %s", last(path), kind(value), want)
}

// text sets a value that has a unit, which is why it must be a string.
func (b *binder) text(path string, value any, u encoding.TextUnmarshaler) {
	s, ok := value.(string)
	if !ok {
		what := ""
		switch value.(type) {
		case int64, float64:
			what = " without a unit"
		}
		b.problem(path, "%s is %s%s; write it in quotes, as in %s", last(path), kind(value), what, example(u))
		return
	}
	if err := u.UnmarshalText([]byte(s)); err != nil {
		b.problem(path, "%s: %v", last(path), err)
	}
}

// OneOrMore is a list of strings of which a file may write one without the list.
type OneOrMore []string

func (b *binder) slice(path string, value any, v reflect.Value) {
	if s, ok := value.(string); ok && v.Type() == reflect.TypeFor[OneOrMore]() {
		v.Set(reflect.ValueOf(OneOrMore{s}))
		return
	}
	list, ok := value.([]any)
	if tables, are := value.([]map[string]any); are {
		for _, t := range tables {
			list = append(list, t)
		}
		ok = true
	}
	switch {
	case ok:
	case v.Type().Elem().Kind() == reflect.Struct:
		b.problem(path, "%s is %s; there can be several: write [[%s]]", path, kind(value), path)
		return
	default:
		b.problem(path, "%s is %s; want a list, as in [\"...\"]", last(path), kind(value))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
	for i, x := range list {
		b.value(element(path, i), x, v.Index(i))
	}
}

// header is how a table starts in a file.
func header(path string) string {
	if name, _, ok := strings.Cut(path, "["); ok && strings.HasSuffix(path, "]") {
		return "[[" + name + "]]"
	}
	return "[" + path + "]"
}

// last is the key that a path ends in.
func last(path string) string {
	key, _, _ := strings.Cut(path[strings.LastIndexByte(path, '.')+1:], "[")
	return key
}

func kind(value any) string {
	switch value.(type) {
	case string:
		return fmt.Sprintf("the string %q", value)
	case bool, int64, float64:
		return fmt.Sprintf("%v", value)
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "a list of tables"
	case []any:
		return "a list"
	}
	return "a date or time"
}

// suggest finds the known word that was probably meant: the same but for case,
// or at most two letters away.
func suggest(word string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if strings.EqualFold(word, k) {
			return k
		}
		if d := distance(word, k); d < least && d < len(k) {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of letters to add, drop or change (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := diagonal
			if a[i-1] != b[j-1] {
				change++
			}
			diagonal = row[j]
			row[j] = min(change, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
