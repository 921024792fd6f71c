package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"

	"fanin/deploy/build"
)

// made stores the image of the agent, with a few bytes in the place of its programs.
func made(t *testing.T) (dir, digest string) {
	t.Helper()
	s := specs()[0]
	programs := map[string][]byte{"amd64": []byte("for amd64"), "arm64": []byte("for arm64")}
	index, err := s.index(programs, "v1", time.Unix(1_700_000_000, 0).UTC())
	if err != nil {
		t.Fatal(err)
	}
	hash, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), s.name)
	if err := store(dir, "v1", index); err != nil {
		t.Fatal(err)
	}
	return dir, hash.String()
}

// TestReproducible: two builds of the same programs are the same bytes.
func TestReproducible(t *testing.T) {
	first, digest := made(t)
	second, again := made(t)
	if digest != again {
		t.Errorf("digests are %s and %s", digest, again)
	}
	if out, err := exec.Command("diff", "-r", first, second).CombinedOutput(); err != nil {
		t.Errorf("the layouts differ: %v\n%s", err, out)
	}
}

// TestImages: one index has an image for each architecture, with what the program needs and no
// more.
func TestImages(t *testing.T) {
	dir, _ := made(t)
	all, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	top, err := all.IndexManifest()
	if err != nil || len(top.Manifests) != 1 || top.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "v1" {
		t.Fatalf("the layout has %+v, %v", top, err)
	}
	index, err := all.ImageIndex(top.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	list, err := index.IndexManifest()
	if err != nil || len(list.Manifests) != 2 {
		t.Fatalf("the index has %+v, %v", list, err)
	}
	for i, arch := range build.Architectures() {
		if p := list.Manifests[i].Platform; p == nil || p.OS != "linux" || p.Architecture != arch {
			t.Errorf("image %d is for %v", i, p)
		}
		img, err := index.Image(list.Manifests[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		c, err := img.ConfigFile()
		if err != nil || c.Architecture != arch || c.Config.User != "65532:65532" || c.Config.Entrypoint[0] != "/fanin-agent" {
			t.Errorf("%s: %+v, %v", arch, c, err)
		}
	}
}

// TestOtherTools: tools that are used with images read what is built.
func TestOtherTools(t *testing.T) {
	dir, digest := made(t)
	tool := func(name string, args ...string) []byte {
		t.Helper()
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skip(name + " is not installed")
		}
		c := exec.Command(path, args...)
		c.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return out
	}
	for _, arch := range build.Architectures() {
		var got struct {
			Architecture, Digest string
			Labels               map[string]string
		}
		out := tool("skopeo", "inspect", "--override-arch="+arch, "--override-os=linux", "oci:"+dir+":v1")
		if err := json.Unmarshal(out, &got); err != nil || got.Architecture != arch {
			t.Errorf("skopeo says %s, %v; the index is %s", out, err, digest)
		}
		// umoci knows no index: it gets one image of it.
		one, bundle := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "bundle")
		tool("skopeo", "copy", "--override-arch="+arch, "--override-os=linux", "oci:"+dir+":v1", "oci:"+one+":v1")
		tool("umoci", "unpack", "--rootless", "--image", one+":v1", bundle)
		b, err := os.ReadFile(filepath.Join(bundle, "rootfs", "fanin-agent"))
		if err != nil || string(b) != "for "+arch {
			t.Errorf("umoci unpacked %q, %v", b, err)
		}
		if fi, err := os.Stat(filepath.Join(bundle, "rootfs/var/lib/fanin-agent")); err != nil || !fi.IsDir() {
			t.Errorf("the state's directory: %v, %v", fi, err)
		}
		spec, err := os.ReadFile(filepath.Join(bundle, "config.json"))
		if err != nil || !strings.Contains(string(spec), `"uid": 65532`) {
			t.Errorf("the runtime's configuration: %v\n%.900s", err, spec)
		}
	}
}

// TestDockerfiles: the Dockerfiles make images with the same settings.
func TestDockerfiles(t *testing.T) {
	for _, s := range specs() {
		b, err := os.ReadFile(filepath.Join("..", "..", "Dockerfile."+strings.TrimPrefix(s.name, "fanin-")))
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		command, _ := json.Marshal(s.command)
		want := []string{"USER 65532:65532\n", "STOPSIGNAL SIGTERM\n", "ENTRYPOINT [\"/" + s.name + "\"]\n",
			"CMD " + strings.ReplaceAll(string(command), ",", ", ") + "\n"}
		for _, dir := range s.dirs {
			want = append(want, "\""+dir+"\"")
		}
		for _, env := range s.env {
			want = append(want, "ENV "+env+"\n")
		}
		for _, port := range s.ports {
			want = append(want, port)
		}
		for _, line := range want {
			if !strings.Contains(text, line) {
				t.Errorf("Dockerfile of %s does not have %q", s.name, line)
			}
		}
	}
}
