// SPDX-License-Identifier: Apache-2.0

package process

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestSeen(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(20, 500, 42) // runs p20 since 5 s after boot
	r := proc.resolver(time.Hour)
	const uid = 4_000_000_000
	seen := func(pid int32, started time.Duration, name string) *tcp.Holder {
		return &tcp.Holder{PID: pid, UID: uid, Started: started, Executable: name}
	}

	p := r.Seen(late, seen(20, 5*time.Second+9*time.Millisecond, "p20"))
	assert.Equal(t, "/system.slice/fake.service", p.Cgroup, "it is still there: all is known of it")
	q, claims := ask(42)
	_, err := r.Resolve(t.Context(), late, nil, claims)
	require.NoError(t, err)
	assert.Same(t, q[0].owner.Process, p)
	assert.Same(t, p, r.Seen(late, seen(20, 5*time.Second, "p20")))
	comm := seen(20, 5*time.Second, "worker")
	comm.IsComm = true
	assert.Same(t, p, r.Seen(late, comm), "what a thread calls itself is no other program")

	program := seen(20, 5*time.Second, "sh")
	other := r.Seen(late, program)
	assert.Equal(t, &Process{PID: 20, Executable: "sh", Owner: "4000000000"}, other, "it ran another program then")
	assert.Same(t, other, r.Seen(late, program))

	assert.Equal(t, &Process{PID: 20, Executable: "curl", Owner: "4000000000"}, r.Seen(late, seen(20, time.Second, "curl")), "another process of that number")
	assert.Equal(t, &Process{PID: 77, Executable: "curl", Owner: "4000000000"}, r.Seen(late, seen(77, time.Second, "curl")), "it has ended")
	assert.Equal(t, &Process{Executable: "curl", Owner: "4000000000"}, r.Seen(late, seen(0, time.Second, "curl")), "in another PID namespace")

	long := strings.Repeat("x", tcp.MaxName-1)
	proc.program(30, 600, long+"ü")
	proc.user(30, uid)
	living := r.Seen(late, seen(30, 6*time.Second, tcp.FileName([]byte(long + "ü")[:tcp.MaxName])))
	assert.Equal(t, int32(1), living.ParentPID, "the name was cut inside of a character, but it is the same process")
	assert.Equal(t, long, living.Executable, "as it is named when it has ended")
	for pid := range int32(3 * maxSeen) {
		r.Seen(late, seen(1000+pid, time.Second, "x"))
	}
	assert.LessOrEqual(t, len(r.seen), maxSeen)
	require.NoError(t, r.Close())
	assert.Equal(t, "curl", r.Seen(late, seen(78, time.Second, "curl")).Executable)
}
