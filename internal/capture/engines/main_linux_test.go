// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"testing"

	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest/traffic"
)

func TestMain(m *testing.M) { traffic.Main(m) }
