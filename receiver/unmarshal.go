package receiver

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/confmap"
)

// maxListed is how many keys an error lists; there are more metrics than
// anybody reads at a glance.
const maxListed = 30

// Unmarshal implements confmap.Unmarshaler. The library's own errors name a key
// that it does not know, or a value that it cannot convert, but not what it
// would take instead.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	if err := misfits("", conf.ToStringMap(), reflect.TypeOf(*c)); err != nil {
		return err
	}
	return conf.Unmarshal(c)
}

// misfits returns an error for each key of section that the type has no field
// for, and for each value that is not of its field's kind.
func misfits(path string, section map[string]any, typ reflect.Type) error {
	fields := keys(typ)
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(section)) {
		fieldType, known := fields[key]
		if !known {
			errs = append(errs, fmt.Errorf("%sgot the key %q, takes %s", prefix(path), key, list(fields)))
			continue
		}
		if section[key] == nil {
			continue // an empty section leaves the defaults
		}
		errs = append(errs, misfit(join(path, key), section[key], fieldType))
	}
	return errors.Join(errs...)
}

// misfit returns an error if a value is not what the type wants. What it lets
// pass, the library still checks.
func misfit(path string, value any, typ reflect.Type) error {
	wrong := func(takes string) error {
		got := fmt.Sprint(value)
		if text, ok := value.(string); ok {
			got = strconv.Quote(text)
		}
		return fmt.Errorf("%s: got %s, takes %s", path, got, takes)
	}
	switch {
	case typ == reflect.TypeFor[time.Duration]():
		text, isText := value.(string)
		if _, err := time.ParseDuration(text); !isText || err != nil {
			return wrong("a duration with its unit, such as 10s or 500ms")
		}
	case typ.Kind() == reflect.Struct:
		section, ok := value.(map[string]any)
		if !ok {
			return wrong("a section with keys: " + list(keys(typ)))
		}
		return misfits(path, section, typ)
	case typ.Kind() == reflect.Bool:
		if _, ok := value.(bool); !ok {
			return wrong("true or false")
		}
	case typ.Kind() == reflect.Int:
		if v := reflect.ValueOf(value); !v.CanInt() {
			return wrong("a whole number")
		}
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() != reflect.Struct:
		list, ok := value.([]any)
		if !ok {
			return wrong("a list, such as [a, b]")
		}
		var errs []error
		for _, one := range list {
			errs = append(errs, misfit(path, one, typ.Elem()))
		}
		return errors.Join(errs...)
	case typ.Kind() == reflect.String:
		if _, ok := value.(string); !ok {
			return wrong("text")
		}
	}
	return nil
}

// keys maps the keys that a section takes to their types.
func keys(typ reflect.Type) map[string]reflect.Type {
	all := make(map[string]reflect.Type)
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
		switch {
		case options == "squash":
			maps.Copy(all, keys(field.Type))
		case name != "":
			all[name] = field.Type
		}
	}
	return all
}

func list(fields map[string]reflect.Type) string {
	if len(fields) > maxListed {
		return "a name that documentation.md lists"
	}
	return strings.Join(slices.Sorted(maps.Keys(fields)), ", ")
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "::" + key
}

func prefix(path string) string {
	if path == "" {
		return ""
	}
	return path + ": "
}
