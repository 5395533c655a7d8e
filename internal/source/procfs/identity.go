package procfs

import (
	"hash/maphash"
	"os"
	"strconv"
	"strings"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// identifier makes identities in place of the socket cookie, which /proc/net
// does not show.
//
// A listener is its inode and its endpoint, since listeners with SO_REUSEPORT
// have the same endpoint. Any other socket is its two endpoints only: a
// connection has no inode before it is accepted, nor once its process has
// closed it, and must stay itself all the while. So a new connection that takes
// the endpoints of an old one is told from it by a nonzero inode that changed
// to another nonzero one, and that is for whoever remembers sockets to do. Two
// connections with the same endpoints at the same time, each bound to a device
// of its own, look like one here.
//
// Cookies hold for one opened source: the seed is its own, so that no peer can
// choose ports that make two connections look the same.
type identifier struct {
	namespace uint64
	seed      maphash.Seed
}

func (id identifier) identify(s *tcp.Socket) tcp.Identity {
	return tcp.Identity{Cookie: source.EndpointCookie(id.seed, s), Namespace: id.namespace}
}

// Namespace returns the inode of the network namespace that dir shows, 0 if
// that cannot be read: /proc/<pid>/net is beside /proc/<pid>/ns.
func Namespace(dir string) uint64 {
	// Not filepath.Join, which would take "net/.." away before the kernel could
	// follow the link.
	link, err := os.Readlink(dir + "/../ns/net")
	if err != nil {
		return 0
	}
	return parseNamespace(link)
}

// parseNamespace takes the inode out of net:[4026531833] (fs/nsfs.c
// ns_get_name), 0 if it is not like that.
func parseNamespace(link string) uint64 {
	digits, opens := strings.CutPrefix(link, "net:[")
	digits, closes := strings.CutSuffix(digits, "]")
	inode, err := strconv.ParseUint(digits, 10, 64)
	if !opens || !closes || err != nil {
		return 0
	}
	return inode
}
