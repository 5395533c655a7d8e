// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// pattern matches a name exactly or, where expr is set, by expression.
//
// It is text, sshd or /^python3/, and not an item of the collector's own
// filter.Config, `- strict: sshd` or `- regexp: ^python3`, which metrics_include
// takes. This list is mostly names, and stands beside lists of plain ports and
// networks; no executable's name has a slash in it, so that nothing needs to be
// escaped. The expressions are the same, those of package regexp. And
// filter.Filter.Matches takes an interface: it allocates for each name, and is
// asked for every socket of every scrape.
type pattern struct {
	name string
	expr *regexp.Regexp
}

func (p pattern) match(name string) bool {
	if p.expr != nil {
		return p.expr.MatchString(name)
	}
	return p.name == name
}

// parsePatterns reads names and /expressions/.
func parsePatterns(key string, texts []string) ([]pattern, error) {
	var (
		patterns []pattern
		errs     []error
	)
	for _, text := range texts {
		body, isExpr := strings.CutPrefix(text, "/")
		body, closed := strings.CutSuffix(body, "/")
		switch {
		case text == "":
			errs = append(errs, fmt.Errorf("%s: got %q, takes a name, or a regular expression between slashes", key, text))
		case !isExpr:
			patterns = append(patterns, pattern{name: text})
		case !closed || body == "":
			errs = append(errs, fmt.Errorf("%s: got %q, takes a regular expression between two slashes, such as /^python3/", key, text))
		default:
			expr, err := regexp.Compile(body)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: got %q, takes a regular expression between slashes: %w", key, text, err))
				continue
			}
			patterns = append(patterns, pattern{expr: expr})
		}
	}
	return patterns, errors.Join(errs...)
}

// executables is the filter on the name of the owner's executable.
type executables struct{ include, exclude []pattern }

// any tells whether the filter has a condition at all.
func (e executables) any() bool { return len(e.include)+len(e.exclude) > 0 }

// match tells whether a name passes; a socket without an owner has the name "",
// which passes only where nothing is asked for by name.
func (e executables) match(name string) bool {
	return (len(e.include) == 0 || matchAny(e.include, name)) && !matchAny(e.exclude, name)
}

func matchAny(patterns []pattern, name string) bool {
	for _, p := range patterns {
		if p.match(name) {
			return true
		}
	}
	return false
}
