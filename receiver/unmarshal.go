// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/filter"
)

// Unmarshal implements confmap.Unmarshaler. It looks at every key and value before
// confmap decodes them, because confmap (v1.61) silently accepts much that no user
// means. TestWhatTheLibraryAccepts has all of it:
//
//   - An empty value becomes 0, false or "", be it `limit:` or a variable that is not
//     set. For connections::limit that is no limit at all. Here the default stays.
//   - An empty item of a list becomes 0 or "".
//   - 1.5 becomes 1, and an integer beyond 64 bits becomes another integer.
//   - 5 becomes a duration of 5 ns.
//   - The text "a,b" becomes a list of two.
//
// No option of confmap changes that. Types of our own for numbers and durations could,
// but not in the generated part of Config, nor for keys that do not exist. And the
// errors for what confmap does refuse show types of Go instead of what a key takes.
//
// The conversion itself is left to confmap, one section at a time.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	c.recordsSet = c.recordsSet || says(conf.Get("records"))
	return decode(conf, reflect.ValueOf(c), "")
}

// says reports whether a section is there and more than empty values. `{}` is.
func says(section any) bool {
	values, ok := section.(map[string]any)
	if !ok || len(values) == 0 {
		return ok
	}
	for _, value := range values {
		if value != nil {
			return true
		}
	}
	return false
}

// decode sets the struct that into points to from a section, or returns an error for
// each key that the struct does not have and each value that does not fit. It deletes
// from conf what confmap must not see: empty values, and sections that are decoded by
// themselves.
func decode(conf *confmap.Conf, into reflect.Value, path string) error {
	fields := fieldsOf(into.Elem())
	values := conf.ToStringMap()
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(values)) {
		field, known := fields[key]
		at := join(path, key)
		switch value := expanded(values[key]); {
		case !known:
			errs = append(errs, unknown(path, key, fields))
		case value == nil: // the default stays
		case decodesItself(field):
			continue // the library does it
		case field.Kind() == reflect.Struct:
			if _, ok := value.(map[string]any); !ok {
				errs = append(errs, wrong(at, value, takes(field.Type())))
				break
			}
			section, err := conf.Sub(key)
			if err == nil {
				err = decode(section, field.Addr(), at)
			}
			errs = append(errs, err)
		default:
			err := misfit(at, value, field.Type(), converts(conf, key, field.Type()))
			if err == nil {
				continue // it stays in conf, for the library
			}
			errs = append(errs, err)
		}
		if key != "" { // the library takes "" for the whole section
			conf.Delete(key)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := conf.Unmarshal(into.Interface()); err != nil {
		return fmt.Errorf("%s: %w", cmp.Or(path, "the configuration"), err)
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if list, ok := fields[key].Interface().([]filter.Config); ok {
			errs = append(errs, comparisons(join(path, key), list))
		}
	}
	return errors.Join(errs...)
}

// decodesItself reports whether a field has its own way to be decoded, as sections of
// the collector's own have that may be left out.
func decodesItself(field reflect.Value) bool {
	_, able := field.Addr().Interface().(confmap.Unmarshaler)
	return able && (field.Kind() != reflect.Struct || len(fieldsOf(field)) == 0)
}

// misfit returns an error if a value is not what the type takes. text says that values
// which are not text convert to it.
func misfit(path string, value any, typ reflect.Type, text bool) error {
	fits := true
	switch {
	case typ == reflect.TypeFor[time.Duration]():
		s, isText := value.(string)
		_, err := time.ParseDuration(s)
		fits = isText && err == nil
	case typ.Kind() == reflect.Bool:
		_, fits = value.(bool)
	case typ.Kind() == reflect.Float64:
		v := reflect.ValueOf(value)
		fits = v.CanInt() || v.CanUint() || v.CanFloat()
	case typ.Kind() == reflect.Int:
		return misfitInt(path, value, typ)
	case typ.Kind() == reflect.String:
		_, isText := value.(string)
		fits = isText || text
	case typ.Kind() == reflect.Slice:
		items, isList := value.([]any)
		if !isList {
			return wrong(path, value, takesListOf(value, typ.Elem()))
		}
		var errs []error
		for _, item := range items {
			errs = append(errs, misfitItem(path, item, typ.Elem(), text))
		}
		return errors.Join(errs...)
	}
	if !fits {
		return wrong(path, value, takes(typ)+quoting(value, typ))
	}
	return nil
}

// misfitItem is misfit for one item of a list.
func misfitItem(path string, item any, typ reflect.Type, text bool) error {
	if item == nil {
		return fmt.Errorf("%s: got an empty item (null, or a variable that is not set), takes %s in each", path, takesItem(typ, nil))
	}
	if typ.Kind() != reflect.Struct {
		return misfit(path, item, typ, text)
	}
	section, ok := item.(map[string]any)
	if !ok {
		return wrong(path, item, takesItem(typ, item))
	}
	fields := fieldsOf(reflect.New(typ).Elem())
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(section)) {
		field, known := fields[key]
		switch value := section[key]; {
		case !known:
			errs = append(errs, unknown(path, key, fields))
		case value != nil:
			errs = append(errs, misfit(join(path, key), value, field.Type(), text))
		}
	}
	return errors.Join(errs...)
}

// maxInt is the largest integer that a key takes. Nobody needs larger ones, and up to
// here a whole number in floating point, such as 1e3, converts without overflow.
const maxInt = 1_000_000_000_000_000_000

func misfitInt(path string, value any, typ reflect.Type) error {
	var n float64
	switch v := reflect.ValueOf(value); {
	case v.CanInt():
		n = float64(v.Int())
	case v.CanUint():
		n = float64(v.Uint())
	case v.CanFloat() && v.Float() == math.Trunc(v.Float()):
		n = v.Float()
	default: // NaN as well
		return wrong(path, value, takes(typ)+quoting(value, typ))
	}
	if math.Abs(n) > maxInt || reflect.Zero(typ).OverflowInt(int64(n)) {
		return wrong(path, value, takes(typ)+" closer to 0")
	}
	return nil
}

// comparisons checks the items of metrics_include and metrics_exclude. The library
// would check them too, but its errors name the field of Config that the generated
// part is embedded in, as if it were a section.
func comparisons(path string, list []filter.Config) error {
	var errs []error
	for _, item := range list {
		err := item.Validate()
		switch {
		case err == nil:
		case item.Strict == "" && item.Regex == "":
			errs = append(errs, fmt.Errorf("%s: got an item without a value, takes %s", path, takesComparison("sshd")))
		case item.Strict != "" && item.Regex != "":
			errs = append(errs, fmt.Errorf("%s: got strict: %s and regexp: %s in one item, takes one of them in each", path, item.Strict, item.Regex))
		default:
			errs = append(errs, fmt.Errorf("%s::regexp: got %q, takes a regular expression: %w", path, item.Regex, err))
		}
	}
	return errors.Join(errs...)
}

// converts reports whether confmap can decode one key of a section. Only confmap still
// has the text of a variable such as ${env:NAME}: what ToStringMap returns was read as
// YAML, so that the name 0123 is a number there.
func converts(conf *confmap.Conf, key string, typ reflect.Type) bool {
	section := reflect.New(reflect.StructOf([]reflect.StructField{
		{Name: "Value", Type: typ, Tag: reflect.StructTag(fmt.Sprintf("mapstructure:%q", key))},
	}))
	return conf.Unmarshal(section.Interface(), confmap.WithIgnoreUnused()) == nil
}

// expanded resolves variables inside of a list that is itself the value of a variable:
// ToStringMap leaves those in a type of confmap's own.
func expanded(value any) any {
	if _, ok := value.([]any); !ok {
		return value
	}
	return confmap.NewFromStringMap(map[string]any{"list": value}).Get("list")
}

// fieldsOf maps the keys that a section takes to the fields of its struct.
func fieldsOf(section reflect.Value) map[string]reflect.Value {
	all := make(map[string]reflect.Value)
	for i := range section.NumField() {
		name, options, _ := strings.Cut(section.Type().Field(i).Tag.Get(confmap.MapstructureTag), ",")
		switch {
		case options == "squash":
			maps.Copy(all, fieldsOf(section.Field(i)))
		case name != "":
			all[name] = section.Field(i)
		}
	}
	return all
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "::" + key
}
