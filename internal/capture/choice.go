// SPDX-License-Identifier: Apache-2.0

package capture

import "github.com/netpulse/tcpstatsreceiver/internal/choice"

// Auto is the name that asks for the best engine that opens.
const Auto = choice.Auto

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
	return choice.Check("engine", c.Name, c.Require, factories)
}

// Kind implements choice.Factory.
func (f Factory) Kind() choice.Kind[Capabilities] {
	return choice.Kind[Capabilities]{Name: f.Name, Rank: f.Rank, Capabilities: f.Capabilities}
}

// Names lists the factories' names, best first.
func Names(factories []Factory) []string { return choice.Names(factories) }
