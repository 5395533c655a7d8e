// SPDX-License-Identifier: Apache-2.0

// Package choice chooses among kinds of things that do the same: sources of sockets,
// engines that capture packets. The user names one or leaves the choice to the ranks,
// and may require capabilities.
package choice

import (
	"fmt"
	"slices"
	"strings"
)

// Auto is the name that asks for the best kind that opens.
const Auto = "auto"

// Capabilities is a set of needs, a bit each, that a kind meets.
type Capabilities interface {
	~uint8
	fmt.Stringer
}

// Kind is a kind of things.
type Kind[C Capabilities] struct {
	// Name is what users type. Rank orders the choice of Auto: higher is better.
	Name string
	Rank int
	// Capabilities are what this kind gives at its best.
	Capabilities C
	// Lacks is what it does not have on this host and why, in parentheses after a space;
	// "" if nothing.
	Lacks string
}

// Factory makes things of one kind.
type Factory[C Capabilities] interface{ Kind() Kind[C] }

// Check reports, without opening anything, whether the kind that a user has named, or
// Auto, can meet what is required at its best. what is the key that the user has
// written the name under.
func Check[F Factory[C], C Capabilities](what, name string, require C, factories []F) error {
	if name != Auto && !slices.ContainsFunc(factories, func(f F) bool { return f.Kind().Name == name }) {
		return fmt.Errorf("%s: got %q, takes %s", what, name, strings.Join(append([]string{Auto}, Names(factories)...), ", "))
	}
	wanted, unfit := Among(name, require, factories)
	if len(factories) > 0 && len(wanted) == 0 {
		return fmt.Errorf("require: got %s, which no %s that `%s: %s` allows gives (%s)", require, what, what, name, strings.Join(unfit, "; "))
	}
	return nil
}

// Among returns the factories that meet what a user has asked for, best first, and why
// the others do not.
func Among[F Factory[C], C Capabilities](name string, require C, factories []F) (wanted []F, unfit []string) {
	for _, f := range factories {
		k := f.Kind()
		switch missing := require &^ k.Capabilities; {
		case name != Auto && k.Name != name:
			unfit = append(unfit, k.Name+": not asked for")
		case missing != 0:
			unfit = append(unfit, fmt.Sprintf("%s: gives %s, not %s%s", k.Name, k.Capabilities, missing, k.Lacks))
		default:
			wanted = append(wanted, f)
		}
	}
	slices.SortStableFunc(wanted, func(a, b F) int { return b.Kind().Rank - a.Kind().Rank })
	return wanted, unfit
}

// Names lists the factories' names, best first.
func Names[F Factory[C], C Capabilities](factories []F) []string {
	ranked, _ := Among(Auto, 0, factories)
	names := make([]string, len(ranked))
	for i, f := range ranked {
		names[i] = f.Kind().Name
	}
	return names
}

// Better returns those of the factories above a rank.
func Better[F Factory[C], C Capabilities](factories []F, rank int) []F {
	return slices.DeleteFunc(slices.Clone(factories), func(f F) bool { return f.Kind().Rank <= rank })
}

// Worse says which of the factories are below a rank.
func Worse[F Factory[C], C Capabilities](factories []F, rank int) (all []string) {
	for _, f := range factories {
		if k := f.Kind(); k.Rank < rank {
			all = append(all, fmt.Sprintf("%s: ranks lower, gives %s%s", k.Name, k.Capabilities, k.Lacks))
		}
	}
	return all
}

// Text lists a set as users name it, by the names of the bits: "rtt, bytes".
func Text[C Capabilities](set C, names []string) string {
	var all []string
	for i, name := range names {
		if set&(1<<i) != 0 {
			all = append(all, name)
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// Parse turns a name as in `require` into a set of one.
func Parse[C Capabilities](name string, names []string) (C, error) {
	if i := slices.Index(names, name); i >= 0 {
		return 1 << i, nil
	}
	return 0, fmt.Errorf("got %q, takes %s", name, strings.Join(names, ", "))
}
