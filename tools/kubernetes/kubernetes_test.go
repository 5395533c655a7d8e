// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const examples = "../../examples/kubernetes"

// objects are what an overlay makes.
type objects struct {
	daemonSets  []appsv1.DaemonSet
	deployments []appsv1.Deployment
	services    []corev1.Service
	configMaps  map[string]corev1.ConfigMap
}

// build builds an overlay as `kubectl apply -k` would, and reads it strictly: a field
// that the API does not have is an error.
func build(t *testing.T, overlay string) objects {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(examples, overlay))
	if err != nil {
		t.Fatalf("kustomize build %s: %v", overlay, err)
	}
	made := objects{configMaps: make(map[string]corev1.ConfigMap)}
	for _, resource := range built.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		strictly := func(into any) {
			t.Helper()
			if err := yaml.UnmarshalStrict(text, into); err != nil {
				t.Errorf("%s %s: %v\n%s", resource.GetKind(), resource.GetName(), err, text)
			}
		}
		if kind := resource.GetKind(); kind != "Namespace" && resource.GetNamespace() != "tcpstats" {
			t.Errorf("%s %s is in namespace %q", kind, resource.GetName(), resource.GetNamespace())
		}
		switch kind := resource.GetKind(); kind {
		case "DaemonSet":
			var object appsv1.DaemonSet
			strictly(&object)
			made.daemonSets = append(made.daemonSets, object)
		case "Deployment":
			var object appsv1.Deployment
			strictly(&object)
			made.deployments = append(made.deployments, object)
		case "Service":
			var object corev1.Service
			strictly(&object)
			made.services = append(made.services, object)
		case "ConfigMap":
			var object corev1.ConfigMap
			strictly(&object)
			made.configMaps[object.Name] = object
		case "Namespace":
			strictly(new(corev1.Namespace))
		default:
			t.Errorf("%s %s: this test knows no such kind", kind, resource.GetName())
		}
	}
	return made
}

// TestOverlays checks what each overlay grants, and that its configurations are ones
// that the distribution takes.
func TestOverlays(t *testing.T) {
	for overlay, capabilities := range map[string][]corev1.Capability{
		"base":                    {"DAC_READ_SEARCH", "SYS_PTRACE"},
		"overlays/bpf":            {"BPF", "PERFMON", "SYS_PTRACE"},
		"overlays/all-namespaces": {"DAC_READ_SEARCH", "SYS_ADMIN", "SYS_PTRACE"},
		"overlays/gateway":        {"DAC_READ_SEARCH", "SYS_PTRACE"},
	} {
		t.Run(overlay, func(t *testing.T) {
			made := build(t, overlay)
			if len(made.daemonSets) != 1 {
				t.Fatalf("%d DaemonSets", len(made.daemonSets))
			}
			set := made.daemonSets[0]
			pod := set.Spec.Template.Spec
			container := pod.Containers[0]
			got := slices.Clone(container.SecurityContext.Capabilities.Add)
			slices.Sort(got)
			if !slices.Equal(got, capabilities) || !slices.Equal(container.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("it has the capabilities %v, want %v and no others", got, capabilities)
			}
			if !pod.HostNetwork || !pod.HostPID || *container.SecurityContext.AllowPrivilegeEscalation || !*container.SecurityContext.ReadOnlyRootFilesystem {
				t.Error("it sees another host, or may do more than it has to")
			}
			if set.Spec.Selector.MatchLabels["app.kubernetes.io/name"] != set.Spec.Template.Labels["app.kubernetes.io/name"] {
				t.Error("its selector does not select its pods")
			}
			made.check(t, pod)
			for _, deployment := range made.deployments {
				if *deployment.Spec.Template.Spec.Containers[0].SecurityContext.RunAsNonRoot != true {
					t.Errorf("%s runs as root", deployment.Name)
				}
				made.check(t, deployment.Spec.Template.Spec)
			}
			for _, service := range made.services {
				if !slices.ContainsFunc(made.deployments, func(d appsv1.Deployment) bool {
					return d.Spec.Template.Labels["app.kubernetes.io/name"] == service.Spec.Selector["app.kubernetes.io/name"]
				}) {
					t.Errorf("service %s selects nothing", service.Name)
				}
			}
		})
	}
}

// check validates the configuration that a pod's collector starts with, in the
// environment that it has.
func (o objects) check(t *testing.T, pod corev1.PodSpec) {
	t.Helper()
	distribution := os.Getenv("OTELCOL_TCPSTATS")
	if distribution == "" {
		t.Skip("skipped: OTELCOL_TCPSTATS names no distribution; make test builds one")
	}
	container := pod.Containers[0]
	if !strings.Contains(container.Image, "/otelcol-tcpstats:") {
		t.Errorf("its image is %s", container.Image)
	}
	// Where each volume of a ConfigMap would be.
	root := t.TempDir()
	for _, mount := range container.VolumeMounts {
		i := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name })
		if i < 0 {
			t.Fatalf("volume %s is not there", mount.Name)
		}
		files, ok := o.configMaps[pod.Volumes[i].ConfigMap.Name]
		if !ok {
			t.Fatalf("ConfigMap %s is not there", pod.Volumes[i].ConfigMap.Name)
		}
		if err := os.MkdirAll(filepath.Join(root, mount.MountPath), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, body := range files.Data {
			if err := os.WriteFile(filepath.Join(root, mount.MountPath, name), []byte(body), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	args := []string{"validate"}
	for _, arg := range container.Args {
		if strings.HasPrefix(arg, "/") {
			arg = filepath.Join(root, arg)
		}
		args = append(args, arg)
	}
	command := exec.Command(distribution, args...)
	for _, from := range container.EnvFrom {
		variables, ok := o.configMaps[from.ConfigMapRef.Name]
		if !ok {
			t.Fatalf("ConfigMap %s is not there", from.ConfigMapRef.Name)
		}
		for name, value := range variables.Data {
			command.Env = append(command.Env, name+"="+value)
		}
	}
	for _, variable := range container.Env {
		value := variable.Value
		if variable.ValueFrom != nil {
			value = "something" // that the cluster knows
		}
		command.Env = append(command.Env, variable.Name+"="+value)
	}
	if output, err := command.CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("validate: %v\n%s", err, output)
	}
}
