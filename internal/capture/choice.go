package capture

import (
	"fmt"
	"slices"
	"strings"
)

// Auto is the name that asks for the best engine that opens.
const Auto = "auto"

// Choice is what the user asked for.
type Choice struct {
	// Name is Auto or an engine's name.
	Name string
	// Require refuses engines without these capabilities.
	Require Capabilities
}

// Check reports, without opening anything, whether the choice can be met by the
// given engines at their best.
func (c Choice) Check(factories []Factory) error {
	if c.Name != Auto && !slices.ContainsFunc(factories, func(f Factory) bool { return f.Name == c.Name }) {
		return fmt.Errorf("engine: got %q, takes %s", c.Name, strings.Join(append([]string{Auto}, Names(factories)...), ", "))
	}
	wanted, unfit := c.among(factories)
	if len(factories) > 0 && len(wanted) == 0 {
		return fmt.Errorf("require: got %s, which no engine that `engine: %s` allows gives (%s)", c.Require, c.Name, strings.Join(unfit, "; "))
	}
	return nil
}

// among returns the factories that meet the choice, best first, and why the
// others do not.
func (c Choice) among(factories []Factory) (wanted []Factory, unfit []string) {
	for _, f := range factories {
		switch lacks := f.Capabilities.Missing(c.Require); {
		case c.Name != Auto && f.Name != c.Name:
			unfit = append(unfit, f.Name+": not asked for")
		case lacks != 0:
			unfit = append(unfit, fmt.Sprintf("%s: gives %s, not %s", f.Name, f.Capabilities, lacks))
		default:
			wanted = append(wanted, f)
		}
	}
	slices.SortStableFunc(wanted, func(a, b Factory) int { return b.Rank - a.Rank })
	return wanted, unfit
}

// Names lists the factories' names, best first.
func Names(factories []Factory) []string {
	ranked, _ := Choice{Name: Auto}.among(factories)
	names := make([]string, len(ranked))
	for i, f := range ranked {
		names[i] = f.Name
	}
	return names
}
