//go:build !linux

package sourcetest

import (
	"testing"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// testNamespaces tests nothing where namespaces cannot be entered.
func (c *conformance) testNamespaces(t *testing.T) {
	if c.capabilities.Missing(source.Namespaces) == 0 {
		t.Error("there are no namespaces to enter")
	}
}
