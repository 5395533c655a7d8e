// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// What one message may cost. A message of 64 KiB has room for thousands of
// records, and for as many aliases.
const (
	maxRecords   = 512
	maxAliases   = 16
	maxPasses    = 4
	maxAddresses = 64
)

// errMalformed says that a message is no query and no answer that can be read.
var errMalformed = errors.New("malformed DNS message")

// Address is one that an answer gives for the name that was asked for.
type Address struct {
	Addr netip.Addr
	// TTL is the shortest one on the way from the name to the address.
	TTL time.Duration
}

// Message is a query or an answer with one question. [Message.Decode] fills it.
type Message struct {
	ID        uint16
	Response  bool
	Truncated bool
	// RCode includes the upper bits that EDNS has (RFC 6891 §6.1.3).
	RCode uint16
	// Type is what is asked for (IANA, DNS Parameters: 1 for A, 28 for AAAA).
	Type uint16
	// Name is the name that is asked for: lower case, without the final dot, other
	// bytes than those of host names as in a master file (RFC 1035 §5.1). It is
	// valid until the next message.
	Name []byte
	// Addresses are those of the name itself or of what it is an alias of. They are
	// valid until the next message.
	Addresses []Address
	// Bare says that this is an error that does not repeat the question, as those of
	// servers that could not read it.
	Bare bool
	// Partial says that the message ends before its last record, or has more records
	// than are looked at.
	Partial bool

	chain [1 + maxAliases]dnsmessage.Name
	links int
	ttl   uint32 // the shortest of the aliases
}

// Decode decodes a message. Of one that is cut short it takes what is there, as
// long as the question is.
func (m *Message) Decode(b []byte) error {
	rest, err := m.question(b)
	if err == nil {
		m.answer(rest)
	}
	return err
}

// question decodes a message as far as its question, which costs next to nothing,
// and returns the parser of the rest for answer: what comes after is for those who
// have asked.
func (m *Message) question(b []byte) (rest dnsmessage.Parser, err error) {
	m.Name, m.Addresses = m.Name[:0], m.Addresses[:0]
	m.Bare, m.Partial, m.links, m.ttl, m.Type = false, false, 0, 1<<32-1, 0
	header, err := rest.Start(b)
	if err != nil {
		return rest, fmt.Errorf("%w: %w", errMalformed, err)
	}
	m.ID, m.Response, m.Truncated, m.RCode = header.ID, header.Response, header.Truncated, uint16(header.RCode)
	if header.OpCode != 0 {
		return rest, fmt.Errorf("%w: operation %d", errMalformed, header.OpCode)
	}
	question, err := rest.Question()
	if errors.Is(err, dnsmessage.ErrSectionDone) && m.Response && m.RCode != 0 {
		m.Bare = true
		return rest, nil
	}
	if err != nil {
		return rest, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if _, err := rest.Question(); !errors.Is(err, dnsmessage.ErrSectionDone) {
		return rest, fmt.Errorf("%w: not one question", errMalformed)
	}
	m.Type = uint16(question.Type)
	m.Name = appendName(m.Name, question.Name.Data[:question.Name.Length])
	if question.Class == dnsmessage.ClassINET {
		m.chain[0], m.links = question.Name, 1
		lower(&m.chain[0])
	}
	return rest, nil
}

// answer decodes what comes after the question.
func (m *Message) answer(rest dnsmessage.Parser) {
	if m.links > 0 && m.Response {
		m.answers(rest)
		m.extend(rest)
	}
}

// answers follows the aliases. Servers give them in the order that they follow
// each other, but need not: the section is read again as long as that brings more.
func (m *Message) answers(start dnsmessage.Parser) {
	for range maxPasses {
		m.Addresses = m.Addresses[:0]
		links := m.links
		if skipped := m.pass(start); !skipped || m.links == links {
			return
		}
	}
}

// pass goes through the answer section once. It reports whether it met records of
// names that are not part of the chain yet.
func (m *Message) pass(p dnsmessage.Parser) (skipped bool) {
	for range maxRecords {
		header, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return skipped
		}
		if err != nil {
			break
		}
		lower(&header.Name)
		switch {
		case header.Class != dnsmessage.ClassINET,
			header.Type != dnsmessage.TypeCNAME && header.Type != dnsmessage.TypeA && header.Type != dnsmessage.TypeAAAA:
			err = p.SkipAnswer()
		case !m.inChain(&header.Name):
			skipped = true
			err = p.SkipAnswer()
		case header.Type == dnsmessage.TypeCNAME:
			err = m.alias(&p, header.TTL)
		default:
			err = m.address(&p, header)
		}
		if err != nil {
			break
		}
	}
	m.Partial = true
	return skipped
}

func (m *Message) inChain(name *dnsmessage.Name) bool {
	for i := range m.links {
		if same(&m.chain[i], name) {
			return true
		}
	}
	return false
}

func same(a, b *dnsmessage.Name) bool {
	return a.Length == b.Length && string(a.Data[:a.Length]) == string(b.Data[:b.Length])
}

func (m *Message) alias(p *dnsmessage.Parser, ttl uint32) error {
	cname, err := p.CNAMEResource()
	if err != nil {
		return err
	}
	lower(&cname.CNAME)
	if m.links < len(m.chain) && !m.inChain(&cname.CNAME) {
		m.chain[m.links] = cname.CNAME
		m.links++
		m.ttl = min(m.ttl, ttl)
	}
	return nil
}

func (m *Message) address(p *dnsmessage.Parser, header dnsmessage.ResourceHeader) error {
	var addr netip.Addr
	if header.Type == dnsmessage.TypeA {
		a, err := p.AResource()
		if err != nil {
			return err
		}
		addr = netip.AddrFrom4(a.A)
	} else {
		aaaa, err := p.AAAAResource()
		if err != nil {
			return err
		}
		addr = netip.AddrFrom16(aaaa.AAAA).Unmap()
	}
	if len(m.Addresses) < maxAddresses {
		m.Addresses = append(m.Addresses, Address{addr, time.Duration(min(m.ttl, header.TTL)) * time.Second})
	}
	return nil
}

// extend looks for the upper bits of the response code, which EDNS has among the
// additional records.
func (m *Message) extend(p dnsmessage.Parser) {
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		m.Partial = true
		return
	}
	for range maxRecords {
		header, err := p.AdditionalHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return
		}
		if err != nil {
			break
		}
		if header.Type == dnsmessage.TypeOPT {
			m.RCode = uint16(header.ExtendedRCode(dnsmessage.RCode(m.RCode)))
			return
		}
		if p.SkipAdditional() != nil {
			break
		}
	}
	m.Partial = true
}

// lower makes the letters of a name lower case: names are equal whatever case they
// are in (RFC 4343), and some resolvers ask in random ones.
func lower(name *dnsmessage.Name) {
	for i, c := range name.Data[:name.Length] {
		if 'A' <= c && c <= 'Z' {
			name.Data[i] = c + 'a' - 'A'
		}
	}
}

// appendName appends a name that ends in a dot as [Message.Name] has it.
func appendName(to, name []byte) []byte {
	if len(name) > 1 {
		name = name[:len(name)-1]
	}
	for _, c := range name {
		switch {
		case 'A' <= c && c <= 'Z':
			to = append(to, c+'a'-'A')
		case c == '\\':
			to = append(to, '\\', '\\')
		case c <= ' ' || c > '~':
			to = append(to, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		default:
			to = append(to, c)
		}
	}
	return to
}
