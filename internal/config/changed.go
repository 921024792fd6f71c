package config

import (
	"reflect"
	"slices"
)

// Changed returns the keys that two structs of the same type, as Load fills them, do not have in
// common: with their paths below path, and in order. A list counts as one key.
func Changed(path string, one, two any) (keys []string) {
	a, b := fieldsOf(structOf(one)), fieldsOf(structOf(two))
	for tag, v := range a {
		at, w := child(path, tag), b[tag]
		switch {
		case reflect.DeepEqual(v.Interface(), w.Interface()):
		case v.Kind() == reflect.Struct && len(fieldsOf(v)) > 0:
			keys = append(keys, Changed(at, v.Addr().Interface(), w.Addr().Interface())...)
		default:
			keys = append(keys, at)
		}
	}
	slices.Sort(keys)
	return keys
}
