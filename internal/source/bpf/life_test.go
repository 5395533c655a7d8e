package bpf

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestLife(t *testing.T) {
	value := make([]byte, lifeLen)
	value[lifeRole], value[lifeRetransmits+4] = flagServer, 7
	var s tcp.Socket
	life(value, &s)
	assert.Equal(t, tcp.Socket{Role: tcp.Server}, s, "nobody has counted what was retransmitted")
	value[lifeRole], value[lifeCounted] = flagClient, 1
	life(value, &s)
	assert.Equal(t, tcp.Client, s.Role)
	assert.True(t, s.Has(tcp.FieldRetransmitsBy))
	assert.Equal(t, uint64(7), s.RetransmitsBy[1])

	s = tcp.Socket{Role: tcp.Server}
	life(value[:lifeLen-1], &s)
	assert.Equal(t, tcp.Socket{Role: tcp.Server}, s, "cut short")
}
