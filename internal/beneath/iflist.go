// SPDX-License-Identifier: Apache-2.0

package beneath

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Messages of NET_RT_IFLISTL (route(4)): struct if_msghdrl, in it struct if_data of
// <net/if.h>, and after it a struct sockaddr_dl with the interface's name. Those of
// addresses have another type.
const (
	messageVersion = 5    // RTM_VERSION
	interfaceType  = 0x0e // RTM_IFINFO
	atVersion      = 2
	atType         = 3
	atHeaderLen    = 16 // ifm_len
	atDataOffset   = 18 // ifm_data_off
	messageMin     = 24

	dataLen         = 152 // ifi_datalen, which if_data has at 6
	atDataLen       = 6
	atReceiveErrors = 32 // ifi_ierrors
	atSendErrors    = 48 // ifi_oerrors
	atReceiveDrops  = 96 // ifi_iqdrops
	atSendDrops     = 104

	atNameLen = 5 // sdl_nlen
	atName    = 8 // sdl_data
)

var errMessage = errors.New("a message ends too early")

// parseMessages reads the list of interfaces.
func parseMessages(raw []byte, n *Numbers) error {
	var all []Interface
	for len(raw) > 0 {
		if len(raw) < 4 {
			return errMessage
		}
		length := int(binary.NativeEndian.Uint16(raw))
		if length < 4 || length > len(raw) {
			return errMessage
		}
		b := raw[:length]
		raw = raw[length:]
		if b[atVersion] != messageVersion {
			return fmt.Errorf("a routing message of version %d: %w", b[atVersion], errLayout)
		}
		if b[atType] != interfaceType {
			continue
		}
		in, err := parseInterface(b)
		if err != nil {
			return err
		}
		all = append(all, in)
	}
	n.Interfaces = all
	return nil
}

func parseInterface(b []byte) (in Interface, err error) {
	if len(b) < messageMin {
		return in, errMessage
	}
	header, data := int(binary.NativeEndian.Uint16(b[atHeaderLen:])), int(binary.NativeEndian.Uint16(b[atDataOffset:]))
	if data < messageMin-4 || data+dataLen > header || header+atName > len(b) {
		return in, errMessage
	}
	d, name := b[data:], b[header:]
	if length := binary.NativeEndian.Uint16(d[atDataLen:]); length != dataLen {
		return in, fmt.Errorf("struct if_data of %d bytes, not %d: %w", length, dataLen, errLayout)
	}
	end := atName + int(name[atNameLen])
	if end > len(name) {
		return in, errMessage
	}
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(d[at:]) }
	return Interface{
		Name:   string(name[atName:end]),
		Errors: [2]uint64{u64(atReceiveErrors), u64(atSendErrors)},
		Drops:  [2]uint64{u64(atReceiveDrops), u64(atSendDrops)},
	}, nil
}
