package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Place is a directory, or where one will be made.
type Place struct {
	What string // "the state"
	Path string
	Key  string // that sets it
}

// Volatile judges the kinds of file systems of places; kind returns the kind of a path.
func Volatile(places []Place, kind func(path string) (string, error)) (found []Finding) {
	for _, p := range places {
		name, err := existing(p.Path, kind)
		remedy := "set " + p.Key + " to a directory on a disk of this host"
		switch {
		case err != nil:
			found = append(found, risk(p.Path, remedy, fmt.Sprintf("the file system of %s is not known: %v", p.What,
				err))...)
		case name == "tmpfs" || name == "ramfs":
			found = append(found, wrong(p.Path, remedy, fmt.Sprintf("%s is on %s: a reboot removes it", p.What,
				name))...)
		case name == "overlay":
			found = append(found, risk(p.Path, "mount a volume there", fmt.Sprintf("%s is on overlay, the layer of a "+
				"container: it is removed with the container", p.What))...)
		case name == "nfs" || name == "cifs" || name == "fuse" || name == "9p" || name == "ceph":
			found = append(found, risk(p.Path, remedy, fmt.Sprintf("%s is on %s: locks and syncs depend on another "+
				"machine and its settings", p.What, name))...)
		}
	}
	return found
}

// existing asks of a path, or of the nearest directory above it that exists.
func existing[T any](path string, ask func(string) (T, error)) (T, error) {
	for {
		v, err := ask(path)
		up := filepath.Dir(path)
		if !errors.Is(err, fs.ErrNotExist) || up == path {
			return v, err
		}
		path = up
	}
}

// Present is the nearest directory of a path that exists.
func Present(path string) string {
	path, _ = existing(path, func(p string) (string, error) {
		_, err := os.Stat(p)
		return p, err
	})
	return path
}

// Bounds of a plausible sync: no device confirms sooner than the first, and writers notice
// what takes longer than the second.
const (
	fastSync = 15 * time.Microsecond
	slowSync = 50 * time.Millisecond
)

// Syncs judges how long syncs took in a directory.
func Syncs(dir string, times []time.Duration, err error) []Finding {
	if err != nil || len(times) == 0 {
		return wrong(dir, "run this as the user of the service, or as root; then see dmesg for errors of the disk",
			fmt.Sprintf("a sync cannot be measured: %v", err))
	}
	times = slices.Sorted(slices.Values(times))
	median := times[len(times)/2]
	text := fmt.Sprintf("a sync takes %v", median.Round(10*time.Nanosecond))
	switch {
	case median < fastSync:
		return risk(dir, "use a disk that syncs; look at the file system's mount options and at the settings of the "+
			"virtual machine's disk cache", text+", sooner than any disk: it syncs nothing, and a power cut loses "+
			"acknowledged lines")
	case median > slowSync:
		return risk(dir, "use a faster disk for the state", text+": each commit waits so long, and few senders "+
			"get few lines through")
	}
	return fine(text + "; a write cache that lies cannot be seen from here")
}

// Room is what a file system has left, and what of it the log uses.
type Room struct {
	Free, Used int64 // bytes
}

// leastRoom is how much must be free for rotation and the state.
const leastRoom = 64 << 20

// Space judges whether the log fits on its disk before its oldest files are removed. keep is how
// much of it is kept; < 0: all.
func Space(path string, room Room, err error, keep int64) []Finding {
	switch {
	case err != nil:
		return risk(path, "", fmt.Sprintf("the free space is not known: %v", err))
	case room.Free < leastRoom:
		return wrong(path, "make room, or lower collector.log.keep_bytes", fmt.Sprintf("the disk is full: %s are free",
			size(room.Free)))
	case keep < 0:
		return risk(path, "set collector.log.keep_bytes", fmt.Sprintf("the log is never removed, and %s are free",
			size(room.Free)))
	case room.Free+room.Used < keep:
		return risk(path, fmt.Sprintf("set collector.log.keep_bytes to at most %s", size((room.Free+room.Used)/10*9)),
			fmt.Sprintf("keep_bytes is %s, and the log has %s with %s free: the disk is full before old files are "+
				"removed", size(keep), size(room.Used), size(room.Free)))
	}
	return fine(size(room.Free) + " free")
}

// size shows bytes with a unit, as keys have them.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%dB", n)
	}
	i := 0
	for ; n >= 10<<20 && i < len(units)-1 || n >= 1<<20 && i == 0; i++ {
		n >>= 10
	}
	return fmt.Sprintf("%d%ciB", n>>10, units[i])
}
