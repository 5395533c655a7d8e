// SPDX-License-Identifier: Apache-2.0

package tcp

// Field names one value of a [Socket] that a source may or may not know.
type Field uint8

// The fields of a socket. Those up to FieldQueueLimit are of the moment, those
// after it grow over the connection's life.
const (
	FieldSmoothedRTT Field = iota
	FieldRTTVariation
	FieldMinRTT
	FieldRTO
	FieldCongestionWindow
	FieldSlowStartThreshold
	FieldSendMSS
	FieldReceiveMSS
	FieldLost
	FieldDeliveryRate
	FieldPacingRate
	FieldSendWindow
	FieldReceiveWindow
	FieldSendBufferUsage
	FieldReceiveBufferUsage
	FieldSendBufferLimit
	FieldReceiveBufferLimit
	FieldUnsent
	FieldAge
	FieldSinceDataSent
	FieldSinceDataReceived
	FieldSinceACKReceived
	FieldQueueLength
	FieldQueueLimit

	FieldBytesSent
	FieldBytesReceived
	FieldBytesAcked
	FieldBytesRetransmitted
	FieldSegmentsSent
	FieldSegmentsReceived
	FieldRetransmits
	FieldRetransmitsBy
	FieldSpuriousRetransmits
	FieldTimeouts
	FieldOutOfOrder
	FieldZeroWindows
	FieldDeliveredCE
	FieldReceivedCE
	FieldBusyTime
	FieldReceiveWindowLimited
	FieldSendBufferLimited
	FieldDrops

	// NumFields is the number of fields.
	NumFields
)

// Fields is a set of fields.
type Fields uint64

// Has tells whether the set has f.
func (s Fields) Has(f Field) bool { return s&(1<<f) != 0 }

// With returns the set with f added.
func (s Fields) With(f Field) Fields { return s | 1<<f }
