// SPDX-License-Identifier: Apache-2.0

package job

import "testing"

func TestParse(t *testing.T) {
	for line, want := range map[string]Line{
		Says("internal/mib", "begins", ""):               {Event: Begins, Job: "internal/mib"},
		Says("internal/mib", "passed", ""):               {Event: Passed, Job: "internal/mib"},
		Says("internal/mib", "failed", "exit\nstatus 1"): {Event: Failed, Job: "internal/mib", Text: "exit status 1"},
		SaysOver:                                        {Event: Over},
		Indent("init: internal/mib passed"):             {Event: Output, Text: "init: internal/mib passed"},
		"init: internal/mib passed\r\n":                 {Event: Passed, Job: "internal/mib"},
		"lock order reversal:\r\n":                      {Event: Kernel, Text: "lock order reversal:"},
		"lo0: link state changed to UPinit: x passed\n": {Event: Kernel, Text: "lo0: link state changed to UPinit: x passed"},
		"": {Event: Kernel},
	} {
		if got := Parse(line); got != want {
			t.Errorf("%q is %+v, not %+v", line, got, want)
		}
	}
}
