// SPDX-License-Identifier: Apache-2.0

package process

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	containerA = "3b2a1c0f9e8d7c6b5a49382716051423f0e1d2c3b4a5968778695a4b3c2d1e0f"
	containerB = "d4e8e05a546c86b6443f101966c618e47753ed01fa9929cae00d3b692f7a9f80"
)

func TestParseCgroup(t *testing.T) {
	for _, test := range []struct{ name, file, path, container string }{
		{"v2", "0::/system.slice/nginx.service\n", "/system.slice/nginx.service", ""},
		{"v2 in a cgroup namespace", "0::/\n", "/", ""},
		{"v2, removed", "0::/user.slice/run-7.scope (deleted)\n", "/user.slice/run-7.scope", ""},
		{"hybrid, memory only", string(fixture(t, "cgroup_hybrid")), "/batch/job-7", ""},
		{"v1 docker, container not in the v2 path", string(fixture(t, "cgroup_v1_docker")), "/system.slice/containerd.service", containerA},
		{"v1 systemd before memory", "9:memory:/m\n1:name=systemd:/s\n", "/s", ""},
		{"v1 memory before others", "9:pids:/p\n5:memory:/m\n", "/m", ""},
		{"v1 the kernel's order", "9:pids:/p\n5:cpu,cpuacct:/c\n", "/p", ""},
		{"v1 roots", "9:pids:/\n1:name=systemd:/\n", "/", ""},
		{"v2 before v1", "1:name=systemd:/docker/" + containerA + "\n0::/docker/" + containerB + "\n", "/docker/" + containerB, containerB},
		{"colon in the path", "0::/a.slice:cri-containerd:" + containerB + "\n", "/a.slice:cri-containerd:" + containerB, containerB},
		{"not UTF-8", "0::/\xff\n", "/\uFFFD", ""},
		{"no kernel support", "", "", ""},
		{"malformed lines", "x\n0:\n0::\n0::relative\n::/x\n", "/x", ""},
	} {
		path, container := parseCgroup([]byte(test.file))
		assert.Equal(t, test.path, path, test.name)
		assert.Equal(t, test.container, container, test.name)
	}
}

func TestContainerID(t *testing.T) {
	const pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2c48913c_b29f_11e7_9350_020968147796.slice"
	for path, want := range map[string]string{
		"/docker/" + containerA:                                                     containerA,
		"/system.slice/docker-" + containerA + ".scope":                             containerA,
		"/docker/" + containerA + "/init.scope":                                     containerA,
		"/kubepods/burstable/pod2c48913c-b29f-11e7-9350-020968147796/" + containerA: containerA,
		pod + "/docker-" + containerA + ".scope":                                    containerA,
		pod + "/cri-containerd-" + containerA + ".scope":                            containerA,
		pod + "/crio-" + containerA + ".scope":                                      containerA,
		pod + "/crio-" + containerA + ".scope/container":                            containerA,
		"/system.slice/containerd.service/kubepods-besteffort-pod214f3ba8_4b69_4bdb_a7d5_5ecc73f04ae9.slice:cri-containerd:" + containerB: containerB,
		"/machine.slice/libpod-" + containerA + ".scope":                                                       containerA,
		"/machine.slice/libpod-" + containerA + ".scope/container":                                             containerA,
		"/libpod_parent/libpod-" + containerA:                                                                  containerA,
		"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + containerA + ".scope":             containerA,
		"/system.slice/pod.service/libpod-payload-" + containerA:                                               containerA,
		"/ecs/0c1d2e3f405162738495a6b7c8d9eaf0/" + containerA:                                                  containerA,
		"/../../pod2c48913c-b29f-11e7-9350-020968147796/" + containerA:                                         containerA,
		"/default/" + containerA:                                                                               containerA,
		"/docker/" + containerA + "/kubepods/besteffort/pod2c48913c-b29f-11e7-9350-020968147796/" + containerB: containerB,

		"":                                       "",
		"/":                                      "",
		containerA:                               containerA,
		"/system.slice/nginx.service":            "",
		pod:                                      "",
		"/docker/" + containerA[1:]:              "",
		"/docker/" + containerA + "0":            "",
		"/docker/x" + containerA:                 "",
		"/docker/x" + containerA + "/":           "",
		"/docker/" + strings.ToUpper(containerA): "",
		pod + "/crio-conmon-" + containerA + ".scope":                     "",
		"/machine.slice/libpod-conmon-" + containerA + ".scope":           "",
		"/system.slice/run-" + containerA + ".mount":                      "",
		"/system.slice/docker-" + containerA + ".scope/" + containerB[2:]: containerA,
	} {
		assert.Equal(t, want, containerID([]byte(path)), path)
	}
}

func FuzzParseCgroup(f *testing.F) {
	f.Add(fixture(f, "cgroup_hybrid"))
	f.Add(fixture(f, "cgroup_v1_docker"))
	f.Add([]byte("0::/machine.slice/libpod-conmon-" + containerA + ".scope (deleted)"))
	f.Add([]byte("::/-" + containerA))
	f.Fuzz(func(t *testing.T, cgroup []byte) {
		path, container := parseCgroup(cgroup)
		require.True(t, path == "" || strings.HasPrefix(path, "/"))
		require.True(t, utf8.ValidString(path))
		require.NotContains(t, path, "\n")
		if container != "" {
			require.Len(t, container, containerIDLen)
			require.True(t, isHex([]byte(container)))
			require.Contains(t, string(cgroup), container)
		}
	})
}
