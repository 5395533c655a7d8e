// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// ownNetworkEnv says that this process is in a network namespace made for it.
const ownNetworkEnv = "TCPSTATS_PAGE_NETWORK"

// inOwnNetwork runs f in a network namespace of its own, with addresses as a service
// has them, where root may make one; else where it is.
func inOwnNetwork(f func() error) error {
	if os.Getenv(ownNetworkEnv) != "" {
		return f()
	}
	if os.Geteuid() != 0 {
		return f()
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	script := `ip link set lo up && for a in 10.20.3.2 10.20.1.10 10.20.3.17 10.20.9.4 203.0.113.7; do ip addr add $a/32 dev lo; done && exec "$0" "$@"`
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, self}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), ownNetworkEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("in a network namespace of its own: %w", err)
	}
	return nil
}
