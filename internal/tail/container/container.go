// Package container knows how container runtimes name the log files of containers: whose a
// file is, and which files of a directory continue each other.
package container

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"fanin/internal/wire"
)

// Order returns the base name of the file that is written to, and where a file is in the order
// of those that had this name: the oldest has the least order. The kubelet appends a time to
// the name of a file that is full, Docker a number that grows with each rotation:
//
//	0.log.20060102-150405  0.log
//	ID-json.log.2  ID-json.log.1  ID-json.log
//
// A file that is compressed, or is being compressed, is none of them. Files of one container
// with other numbers before .log are of other runs of it: their order says nothing, as the
// numbers do not always grow.
func Order(name string) (live, order string, ok bool) {
	live, suffix := cutSuffix(name)
	switch {
	case suffix == "":
		return name, "~", strings.HasSuffix(name, ".log")
	case kubeletTime.MatchString(suffix):
		return live, suffix, true
	case dockerNumber.MatchString(suffix):
		n, err := strconv.Atoi(suffix)
		return live, fmt.Sprintf("%010d", 1e9-n), err == nil && n < 1e9
	}
	return "", "", false
}

// Rotated reports whether a file had another name while it was written to.
func Rotated(name string) bool {
	_, order, ok := Order(name)
	return ok && order != "~"
}

var (
	kubeletTime  = regexp.MustCompile(`^[0-9]{8}-[0-9]{6}$`)
	dockerNumber = regexp.MustCompile(`^[1-9][0-9]*$`)
)

// cutSuffix divides a name behind the last ".log".
func cutSuffix(name string) (live, suffix string) {
	if i := strings.LastIndex(name, ".log."); i >= 0 && !strings.HasSuffix(name, ".log") {
		return name[:i+len(".log")], name[i+len(".log."):]
	}
	return name, ""
}

// Source returns the source of a container's log file, by its path and, for Docker, by what
// lies beside it; "": the path is not a container's.
//
//	/var/log/pods/NAMESPACE_POD_UID/CONTAINER/0.log           NAMESPACE/POD/CONTAINER
//	/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log        NAMESPACE/POD/CONTAINER
//	/var/lib/docker/containers/ID/ID-json.log                 the name in config.v2.json
func Source(path string) string {
	dir, name := filepath.Split(path)
	dir = filepath.Clean(dir)
	live, _ := cutSuffix(name)
	if pod := strings.Split(filepath.Base(filepath.Dir(dir)), "_"); len(pod) == 3 && podLog.MatchString(live) {
		return source(pod[0], pod[1], filepath.Base(dir))
	}
	if m := linkName.FindStringSubmatch(live); m != nil {
		return source(m[2], m[1], m[3])
	}
	if id, ok := strings.CutSuffix(live, "-json.log"); ok && containerID.MatchString(id) {
		return dockerName(dir, id)
	}
	return ""
}

var (
	podLog      = regexp.MustCompile(`^[0-9]+\.log$`)
	linkName    = regexp.MustCompile(`^([^_]+)_([^_]+)_(.+)-[0-9a-f]{64}\.log$`)
	containerID = regexp.MustCompile(`^[0-9a-f]{12,64}$`)
)

// source makes a source of a container in a pod. If it is too long, the pod's name loses its
// middle: its end tells the pods of a deployment apart.
func source(namespace, pod, container string) string {
	if over := len(namespace) + len(pod) + len(container) + 2 - wire.MaxName; over > 0 {
		keep := max(len(pod)-over-1, 0)
		pod = pod[:keep/2] + "-" + pod[len(pod)-(keep-keep/2):]
	}
	return wire.CleanSource(namespace + "/" + pod + "/" + container)
}

// mostConfig bounds how much of Docker's description of a container is read.
const mostConfig = 1 << 20

// dockerName returns the name of a container, or the beginning of its id if Docker's
// description of it cannot be read.
func dockerName(dir, id string) string {
	short := id[:12]
	f, err := os.Open(filepath.Join(dir, "config.v2.json"))
	if err != nil {
		return short
	}
	defer f.Close()
	var config struct{ Name string }
	if err := json.NewDecoder(io.LimitReader(f, mostConfig)).Decode(&config); err != nil {
		return short
	}
	name := wire.CleanSource(strings.TrimPrefix(config.Name, "/"))
	if name == "" {
		return short
	}
	return name
}
