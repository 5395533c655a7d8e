// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
)

// variable is the environment variable that turns the test binary into a process that
// sends or answers. Its value is a Load.
const variable = "TCPSTATS_TEST_TRAFFIC"

// Network is the number that the two namespaces are to be joined with, see
// [netnstest.Connect]. The second of them answers.
const Network = 76

// Role is what a process does.
type Role string

// The roles.
const (
	// Send sends datagrams of zeros.
	Send Role = "send"
	// Ask sends DNS queries for 100,000 names.
	Ask Role = "ask"
	// Harass sends datagrams of random bytes.
	Harass Role = "harass"
	// Answer gives each query an address of its own. It has no rate.
	Answer Role = "answer"
)

// Load is what a process does with a UDP port of the second namespace.
type Load struct {
	Role Role
	Port int
	Rate int // datagrams a second
}

// Main is the TestMain of a test binary that is also the processes that Start starts.
func Main(m *testing.M) {
	spec := os.Getenv(variable)
	if spec == "" {
		os.Exit(m.Run())
	}
	var l Load
	if _, err := fmt.Sscan(spec, &l.Role, &l.Port, &l.Rate); err != nil {
		log.Fatalf("read %s: %v", variable, err)
	}
	if err := l.play(); err != nil {
		log.Fatal(err)
	}
}

// play sends or answers until the input ends. Who sends prints how many datagrams that
// were, and the CPU time they took.
func (l Load) play() error {
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
	if l.Role == Answer {
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: l.Port}); err != nil {
			return err
		}
		go func() {
			<-ended
			os.Exit(0)
		}()
		return answer(fd)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: l.Port, Addr: [4]byte{10, Network, 0, 2}}); err != nil {
		return err
	}
	sent, err := l.send(fd, ended)
	fmt.Println(sent, CPUTime().Nanoseconds())
	return err
}

// send sends at the load's rate, the datagrams of a millisecond at once.
func (l Load) send(fd int, ended chan struct{}) (sent int, err error) {
	data := make([]byte, 100)
	random := rand.NewChaCha8([32]byte{})
	if l.Role == Ask {
		if data, err = query("host-000000.example.com."); err != nil {
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
		for due := int(time.Since(began).Seconds() * float64(l.Rate)); sent < due; {
			switch l.Role {
			case Ask:
				data[0], data[1] = byte(sent>>8), byte(sent)
				copy(data[digits:], fmt.Appendf(nil, "%06d", sent%100_000))
			case Harass:
				_, _ = random.Read(data) // never fails
			}
			switch _, err := unix.Write(fd, data); {
			case errors.Is(err, unix.ECONNREFUSED): // an earlier one was, and this one is not sent
			case err == nil, errors.Is(err, unix.ENOBUFS):
				sent++
			default:
				return sent, err
			}
		}
	}
}

// query returns a query for the IPv4 addresses of a name.
func query(name string) ([]byte, error) {
	n, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	return m.Pack()
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

// Start starts a process in a namespace. stop ends it and returns how many datagrams
// it has sent, and its CPU time; an Answer returns neither.
func Start(p *netnstest.Place, l Load) (stop func() (sent int, took time.Duration)) {
	p.T.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d", variable, l.Role, l.Port, l.Rate))
	cmd.Stderr = os.Stderr
	var out bytes.Buffer
	cmd.Stdout = &out
	stdin, err := cmd.StdinPipe()
	require.NoError(p.T, err)
	require.NoError(p.T, p.Do(cmd.Start))
	return func() (sent int, took time.Duration) {
		p.T.Helper()
		require.NoError(p.T, stdin.Close())
		require.NoError(p.T, cmd.Wait())
		_, _ = fmt.Sscan(out.String(), &sent, &took) // an Answer prints nothing
		return sent, took
	}
}

// CPUTime is the CPU time of this process, user and system.
func CPUTime() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		panic(err) // it has no reason to fail
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
