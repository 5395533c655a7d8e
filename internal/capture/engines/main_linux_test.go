// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"log"
	"os"
	"testing"

	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest/traffic"
)

// The test binary is also the processes that send what is captured.
func TestMain(m *testing.M) {
	if played, err := traffic.Play(); played {
		if err != nil {
			log.Fatal(err)
		}
		return
	}
	os.Exit(m.Run())
}
