// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
)

// trafficEnv has the test binary make traffic, in a process of its own: what that
// costs is not the engine's.
const trafficEnv = "TCPSTATS_TEST_TRAFFIC"

func TestMain(m *testing.M) {
	if spec := os.Getenv(trafficEnv); spec != "" {
		if err := traffic(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// traffic sends datagrams, or answers queries, until its input ends, and prints what
// one of them took.
func traffic(spec string) error {
	var (
		role       string
		port, rate int
	)
	if _, err := fmt.Sscan(spec, &role, &port, &rate); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	if role == "answer" {
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port}); err != nil {
			return err
		}
		go func() {
			<-ended
			os.Exit(0)
		}()
		return answer(fd)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{10, 76, 0, 2}}); err != nil {
		return err
	}
	sent, err := send(fd, rate, role, ended)
	fmt.Println(sent, used().Nanoseconds())
	return err
}

// send sends so many datagrams a second, those of a millisecond at once: queries to
// ask, random bytes to harass, or else zeros.
func send(fd, rate int, role string, ended chan struct{}) (sent int, err error) {
	data := make([]byte, 100)
	random := rand.NewChaCha8([32]byte{})
	if role == "ask" {
		m := new(dns.Msg)
		m.SetQuestion("host-000000.example.com.", dns.TypeA)
		if data, err = m.Pack(); err != nil {
			return 0, err
		}
	}
	digits := bytes.Index(data, []byte("000000"))
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		select {
		case <-ended:
			return sent, nil
		default:
		}
		for due := int(time.Since(began).Seconds() * float64(rate)); sent < due; sent++ {
			switch role {
			case "ask":
				data[0], data[1] = byte(sent>>8), byte(sent)
				copy(data[digits:], fmt.Appendf(nil, "%06d", sent%100_000))
			case "harass":
				_, _ = random.Read(data) // never fails
			}
			if _, err := unix.Write(fd, data); err != nil && !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOBUFS) {
				return sent, err
			}
		}
	}
}

// answer gives each query an address of its own.
func answer(fd int) error {
	b := make([]byte, 512)
	for i := uint32(0); ; i++ {
		n, from, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			return err
		}
		b[2], b[3], b[7] = 0x84, 0, 1
		i %= 100_000
		record := []byte{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, byte(i >> 16), byte(i >> 8), byte(i)}
		if err := unix.Sendto(fd, append(b[:n], record...), 0, from); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			return err
		}
	}
}

// start starts traffic in a namespace; stop ends it and returns how many datagrams it
// has sent, and its CPU time.
func start(p *netnstest.Place, spec string) (stop func() (sent int, took time.Duration)) {
	p.T.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), trafficEnv+"="+spec)
	cmd.Stderr = os.Stderr
	var out bytes.Buffer
	cmd.Stdout = &out
	stdin, err := cmd.StdinPipe()
	require.NoError(p.T, err)
	require.NoError(p.T, p.Do(cmd.Start))
	return func() (sent int, took time.Duration) {
		require.NoError(p.T, stdin.Close())
		require.NoError(p.T, cmd.Wait())
		_, _ = fmt.Sscan(out.String(), &sent, &took) // none of who answers
		return sent, took
	}
}

// used is the CPU time of this process.
func used() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		panic(err) // it has no reason to fail
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
