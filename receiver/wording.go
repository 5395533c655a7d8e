// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/collector/filter"
)

const (
	// maxListed is how many keys an error lists: there are more metrics than
	// anybody reads at a glance.
	maxListed = 30
	// maxShown is how much of a wrong value an error shows, in bytes.
	maxShown = 100
	// maxSuggested is how many keys of other sections an error suggests.
	maxSuggested = 3
)

// wrong is the error for a value that a key does not take.
func wrong(path string, value any, takes string) error {
	return fmt.Errorf("%s: got %s, takes %s", path, show(value), takes)
}

// takes describes the values of a type.
func takes(typ reflect.Type) string {
	switch {
	case typ == reflect.TypeFor[time.Duration]():
		return "a duration with its unit, such as 10s, 500ms or 24h"
	case typ.Kind() == reflect.Struct:
		return "a section with keys: " + list(fieldsOf(reflect.New(typ).Elem()))
	case typ.Kind() == reflect.Bool:
		return "true or false"
	case typ.Kind() == reflect.Int:
		return "a whole number"
	case typ.Kind() == reflect.Float64:
		return "a number, such as 0.8"
	case typ.Kind() == reflect.String:
		return "text"
	}
	return "a value"
}

// takesListOf describes a list with the value that was given without one.
func takesListOf(value any, item reflect.Type) string {
	switch {
	case item == reflect.TypeFor[filter.Config]():
		return "a list of items such as " + comparison(value)
	case item.Kind() == reflect.Struct:
		return "a list of items such as " + example(item)
	case isScalar(value):
		return fmt.Sprintf("a list, such as [%v]", value)
	}
	return "a list"
}

// takesItem describes an item of a list, of which value was given.
func takesItem(typ reflect.Type, value any) string {
	switch {
	case typ == reflect.TypeFor[filter.Config]():
		return takesComparison(value)
	case typ.Kind() == reflect.Struct:
		return "an item such as " + example(typ)
	}
	return takes(typ)
}

// example shows an item that is a section of its own.
func example(typ reflect.Type) string {
	if typ == reflect.TypeFor[ServiceConfig]() {
		return "{cidr: 10.20.0.0/16, port: 5432, name: orders-db}"
	}
	return "{" + strings.Join(slices.Sorted(maps.Keys(fieldsOf(reflect.New(typ).Elem()))), ": …, ") + ": …}"
}

// takesComparison describes an item of metrics_include and metrics_exclude.
func takesComparison(value any) string {
	return comparison(value) + " for exactly this value, or `- regexp: ^ssh` for a regular expression"
}

func comparison(value any) string {
	if !isScalar(value) {
		value = "sshd"
	}
	return fmt.Sprintf("`- strict: %v`", value)
}

// quoting is the advice for a value that would fit with quotes, or without.
func quoting(value any, typ reflect.Type) string {
	if text, ok := value.(string); ok {
		switch _, err := strconv.ParseFloat(text, 64); {
		case (typ.Kind() == reflect.Int || typ.Kind() == reflect.Float64) && err == nil, typ.Kind() == reflect.Bool && (text == "true" || text == "false"):
			return " without quotes"
		}
		return ""
	}
	if typ.Kind() == reflect.String && isScalar(value) {
		return fmt.Sprintf(` in quotes: "%v"`, value)
	}
	return ""
}

func isScalar(value any) bool {
	switch reflect.ValueOf(value).Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint64, reflect.Float64:
		return true
	}
	return false
}

// show writes a value on one line, about as in YAML.
func show(value any) string {
	var text string
	switch v := value.(type) {
	case nil:
		text = "nothing"
	case string:
		text = strconv.Quote(v)
	case []any:
		items := make([]string, 0, len(v))
		for _, item := range v {
			items = append(items, shorten(plain(item)))
		}
		text = "[" + strings.Join(items, ", ") + "]"
	case map[string]any:
		items := make([]string, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			items = append(items, key+": "+shorten(plain(v[key])))
		}
		text = "{" + strings.Join(items, ", ") + "}"
	default:
		text = fmt.Sprint(v)
	}
	return shorten(text)
}

// plain is show without quotes.
func plain(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	return show(value)
}

func shorten(text string) string {
	if len(text) <= maxShown {
		return text
	}
	end := maxShown
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "..."
}

// unknown is the error for a key that a section does not have.
func unknown(path, key string, fields map[string]reflect.Value) error {
	name := shorten(key)
	if name == "" {
		name = `""`
	}
	section := "this section"
	if path == "" {
		section = "the receiver"
	}
	advice := ""
	if near := suggestions(path, key, fields); len(near) > 0 {
		advice = " (did you mean " + strings.Join(near, " or ") + "?)"
	}
	return fmt.Errorf("%s: unknown key%s, %s takes %s", join(path, name), advice, section, list(fields))
}

func list(fields map[string]reflect.Value) string {
	if len(fields) > maxListed {
		return "a name that documentation.md lists"
	}
	return strings.Join(slices.Sorted(maps.Keys(fields)), ", ")
}

// suggestions are the keys that the user may have meant: the one of this section that
// differs by a slip of the fingers, else those of the same name in other sections, which
// are meant where a key is indented wrongly or written with dots.
func suggestions(path, key string, fields map[string]reflect.Value) []string {
	best, least := "", min(max(1, len(key)/3), 2)+1
	for _, candidate := range slices.Sorted(maps.Keys(fields)) {
		if d := distance(key, candidate); d < least {
			best, least = candidate, d
		}
	}
	if best != "" {
		return []string{best}
	}
	var near []string
	for _, other := range paths(reflect.ValueOf(&Config{}).Elem(), "") {
		if strings.HasSuffix(other, "::"+key) || strings.ReplaceAll(other, "::", ".") == key || other == key && path != "" {
			near = append(near, other)
		}
	}
	if len(near) > maxSuggested {
		return nil
	}
	return near
}

// paths are the full names of all keys in and below a section.
func paths(section reflect.Value, path string) []string {
	var all []string
	fields := fieldsOf(section)
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		at := join(path, key)
		all = append(all, at)
		if fields[key].Kind() == reflect.Struct {
			all = append(all, paths(fields[key], at)...)
		}
	}
	return all
}

// distance is the number of bytes to insert, delete or replace that turn one word into
// the other (Levenshtein). It does not compare keys that are longer than any of ours.
func distance(a, b string) int {
	if len(a) > maxShown {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			row[j+1] = min(above+1, row[j]+1, replaced)
			diagonal = above
		}
	}
	return row[len(b)]
}
