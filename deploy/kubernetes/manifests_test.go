// Package kubernetes_test holds the manifests to the types of Kubernetes, and their configurations to
// the programs.
package kubernetes_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// objects decodes all objects of a file, with an error for each key that Kubernetes does not know.
func objects(t *testing.T, path string) (list []runtime.Object) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{apps.AddToScheme, core.AddToScheme, networking.AddToScheme, policy.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for documents := yaml.NewYAMLReader(bufio.NewReader(f)); ; {
		text, err := documents.Read()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		object, kind, err := decoder.Decode(text, nil, nil)
		if err != nil {
			t.Errorf("%s: %v: %v", path, kind, err)
			continue
		}
		list = append(list, object)
	}
}

func manifests(t *testing.T) map[string][]runtime.Object {
	t.Helper()
	paths, err := filepath.Glob("*.yaml")
	if err != nil || len(paths) < 4 {
		t.Fatalf("%d manifests, %v", len(paths), err)
	}
	all := make(map[string][]runtime.Object)
	for _, path := range paths {
		all[path] = objects(t, path)
	}
	return all
}

// template returns the pods that an object makes, nil if it makes none.
func template(object runtime.Object) *core.PodTemplateSpec {
	switch o := object.(type) {
	case *apps.DaemonSet:
		return &o.Spec.Template
	case *apps.StatefulSet:
		return &o.Spec.Template
	case *apps.Deployment:
		return &o.Spec.Template
	}
	return nil
}

// ours are the containers that run fanin.
func ours(pod *core.PodSpec) (list []core.Container) {
	for _, c := range append(pod.InitContainers, pod.Containers...) {
		if strings.HasPrefix(c.Image, "fanin-") {
			list = append(list, c)
		}
	}
	return list
}

// TestManifests: the manifests are of known kinds, what they refer to exists, and our containers have
// no rights that they do not need.
func TestManifests(t *testing.T) {
	for path, list := range manifests(t) {
		configs := make(map[string]bool)
		for _, object := range list {
			if c, ok := object.(*core.ConfigMap); ok {
				configs[c.Name] = true
			}
		}
		pods := 0
		for _, object := range list {
			pod := template(object)
			if pod == nil {
				continue
			}
			pods++
			volumes := make(map[string]core.Volume)
			for _, v := range pod.Spec.Volumes {
				volumes[v.Name] = v
				if v.ConfigMap != nil && v.ConfigMap.Name != "fanin-ca" && !configs[v.ConfigMap.Name] {
					t.Errorf("%s: the config map %s is not there", path, v.ConfigMap.Name)
				}
			}
			if set, ok := object.(*apps.StatefulSet); ok {
				for _, claim := range set.Spec.VolumeClaimTemplates {
					volumes[claim.Name] = core.Volume{}
				}
				if *set.Spec.Replicas != 1 {
					t.Errorf("%s: %d collectors write one log", path, *set.Spec.Replicas)
				}
			}
			if pod.Spec.AutomountServiceAccountToken == nil || *pod.Spec.AutomountServiceAccountToken {
				t.Errorf("%s: the pod gets a token for the API, which fanin does not use", path)
			}
			for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
				for _, m := range c.VolumeMounts {
					v, ok := volumes[m.Name]
					if !ok {
						t.Errorf("%s: container %s mounts %s, which is no volume", path, c.Name, m.Name)
					}
					if v.HostPath != nil && !m.ReadOnly && !strings.HasPrefix(v.HostPath.Path, "/var/lib/fanin-") {
						t.Errorf("%s: container %s may write to %s of the host", path, c.Name, v.HostPath.Path)
					}
				}
			}
			if len(ours(&pod.Spec)) == 0 {
				t.Errorf("%s: a pod without fanin", path)
			}
			for _, c := range ours(&pod.Spec) {
				confined(t, path, &c)
			}
		}
		if pods == 0 {
			t.Errorf("%s makes no pods", path)
		}
	}
}

// confined checks that a container has no rights that it does not need, and bounded memory.
func confined(t *testing.T, path string, c *core.Container) {
	t.Helper()
	s := c.SecurityContext
	if s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation == nil ||
		*s.AllowPrivilegeEscalation || s.Capabilities == nil || fmt.Sprint(s.Capabilities.Drop) != "[ALL]" || s.Privileged != nil {
		t.Errorf("%s: container %s is not confined: %+v", path, c.Name, s)
	}
	if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Memory().IsZero() {
		t.Errorf("%s: container %s has no bound of memory", path, c.Name)
	}
}

// TestNativeSidecar: the agent of the example starts before the program, and ends after it.
func TestNativeSidecar(t *testing.T) {
	for _, object := range objects(t, "sidecar.yaml") {
		pod := template(object)
		if pod == nil {
			continue
		}
		agent := pod.Spec.InitContainers[0]
		if agent.RestartPolicy == nil || *agent.RestartPolicy != core.ContainerRestartPolicyAlways {
			t.Error("the agent is an init container that must end before the program starts")
		}
		return
	}
	t.Error("there is no pod")
}

// TestConfigurations: the programs accept the configurations in the manifests.
func TestConfigurations(t *testing.T) {
	checked := 0
	for path, list := range manifests(t) {
		for _, object := range list {
			c, ok := object.(*core.ConfigMap)
			if !ok {
				continue
			}
			for name, text := range c.Data {
				program, _, _ := strings.Cut(name, ".")
				file := filepath.Join(t.TempDir(), name)
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				check := exec.Command("go", "run", "./cmd/"+program, "check", "--no-environment", "--config", file)
				check.Dir = filepath.Join("..", "..")
				check.Env = append(os.Environ(), "NODE_NAME=node-1", "POD_NAME=app-1", "CGO_ENABLED=0")
				if out, err := check.CombinedOutput(); err != nil {
					t.Errorf("%s: %s: %v\n%s", path, name, err, out)
				}
				checked++
			}
		}
	}
	if checked < 4 {
		t.Errorf("only %d configurations", checked)
	}
}
