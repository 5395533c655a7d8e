// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
)

// inhabitantEnv makes TestMain the only process of a network namespace that
// opens and closes connections there: a port, how many, and the bytes that each
// sends and receives.
const inhabitantEnv = "TCPSTATS_TEST_INHABITANT"

// inhabit is the inhabitant's main function. It says ok when it listens, begins
// with the first line on its standard input, says ok when it is done, and ends
// with the input.
func inhabit(spec string) error {
	var port, n, sent, received int
	if _, err := fmt.Sscan(spec, &port, &n, &sent, &received); err != nil {
		return fmt.Errorf("%s: %w", inhabitantEnv, err)
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer l.Close()
	go func() { _ = answer(l, received) }() // until this process ends
	fmt.Println("ok")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err == io.EOF {
		return nil
	} else if err != nil {
		return err
	}
	if err := burst(fmt.Sprint(address, " ", n, " ", sent, " ", received)); err != nil {
		return err
	}
	fmt.Println("ok")
	_, err = io.Copy(io.Discard, in)
	return err
}
