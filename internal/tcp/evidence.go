package tcp

import "time"

// RoleOf returns the role that a live sample shows.
func RoleOf(*Socket) Role { return NoRole }

// RoleEvidence returns the role that the last counters show.
func (n *Notice) RoleEvidence(State) Role { return NoRole }

// Connected reports whether the last counters show a handshake.
func (n *Notice) Connected() (connected, sure bool) {
	return n.BytesAcked > 0 || n.BytesReceived > 0 || n.Has(FieldSmoothedRTT), true
}

// LastActivity returns how long ago something last came or went.
func (s *Socket) LastActivity() (ago time.Duration, ok bool) {
	if !s.Has(FieldSinceDataSent) || !s.Has(FieldSinceDataReceived) || !s.Has(FieldSinceACKReceived) {
		return 0, false
	}
	return min(s.SinceDataSent, s.SinceDataReceived, s.SinceACKReceived), true
}
