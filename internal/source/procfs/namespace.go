// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"os"
	"strconv"
	"strings"
)

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
