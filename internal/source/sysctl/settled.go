// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"context"
	"fmt"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// maxLists is how often a list is made at most.
const maxLists = 3

// fewChanges is the most changes to a list after which another one is made. If
// n sockets come or go in the time that a list takes, none does in e^-n of such
// times: on a host where it were more, another list is as bad as the last.
const fewChanges = 3

// settled reads a list that no socket changed while the kernel made it, or
// says how many changes there were to the one that it returns.
func settled(ctx context.Context, read func(context.Context) ([]byte, error)) (list []byte, changes uint64, err error) {
	for range maxLists {
		if list, err = read(ctx); err != nil {
			return nil, 0, err
		}
		before, after, err := generations(list)
		if err != nil {
			return nil, 0, err
		}
		if changes = after - before; changes == 0 || changes > fewChanges {
			break
		}
	}
	return list, changes, nil
}

// unsettled is the error of a list that changed.
func unsettled(changes uint64) error {
	if changes == 0 {
		return nil
	}
	return &source.PartialError{
		Type:  source.ErrorInterrupted,
		Count: 1,
		First: fmt.Errorf("sockets came or went %d times while the kernel listed them", changes),
	}
}
