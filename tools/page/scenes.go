// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// scene is a trouble, and when it begins and ends in the plots.
type scene struct {
	from, to time.Duration
	begin    func() error
	end      func() error
}

// scenes are three troubles, one after the other. checkout is the service that nginx
// asks.
func scenes(s *stage, checkout *actor) []scene {
	var crowd *actor
	return []scene{
		{ // The path to the clients is narrow, and loses packets.
			from: 30 * time.Second, to: 70 * time.Second,
			begin: func() error {
				return shell(
					setRate("24mbit"),
					"nft add rule ip plots input ip daddr "+s.addresses.clients+" numgen random mod 100 < 8 drop",
				)
			},
			end: func() error { return shell(setRate(unlimited), "nft flush chain ip plots input") },
		},
		{ // A service gets more visitors than it accepts.
			from: 85 * time.Second, to: 120 * time.Second,
			begin: func() (err error) {
				crowd, err = s.play("checkout", "visit", s.addresses.api, s.addresses.reports+":9443", "2", "300", "100")
				return err
			},
			end: func() error { crowd.end(); return nil },
		},
		{ // A service is down.
			from: 150 * time.Second, to: 165 * time.Second,
			begin: func() error { checkout.end(); return nil },
			end: func() error {
				_, err := s.play("checkout", checkoutAct(s.addresses)...)
				return err
			},
		},
	}
}

// unlimited is a rate that the load does not reach.
const unlimited = "1gbit"

func setRate(rate string) string {
	return "tc class change dev lo parent 1: classid 1:1 htb quantum 3000 rate " + rate
}

// layPath lays the path to the clients through a queue, and a filter on its other side:
// what a queue of the sender itself drops, TCP does not count as lost.
func layPath(clients string) error {
	// Short send buffers bound what waits in the queue, and so its delay.
	if err := os.WriteFile("/proc/sys/net/ipv4/tcp_wmem", []byte("4096 12288 12288"), 0o644); err != nil {
		return err
	}
	return shell(
		// Packets as they are on a network: loopback's are of 64 KiB.
		"ip link set lo mtu 1500",
		"tc qdisc add dev lo root handle 1: htb default 0",
		"tc class add dev lo parent 1: classid 1:1 htb quantum 3000 rate "+unlimited,
		"tc qdisc add dev lo parent 1:1 pfifo limit 2000",
		"tc filter add dev lo parent 1: protocol ip u32 match ip dst "+clients+"/32 flowid 1:1",
		"nft add table ip plots",
		"nft add chain ip plots input { type filter hook input priority 0; }",
	)
}

// shell runs commands of words without quotes.
func shell(commands ...string) error {
	for _, command := range commands {
		words := strings.Fields(command)
		if output, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, output)
		}
	}
	return nil
}
