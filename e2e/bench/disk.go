package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// diskBytes is what the disk is asked to take.
const diskBytes = 2 << 30

// measureDisk asks what the disk takes in mebibytes, synced at the end, from one
// writer and from two.
func (b *bench) measureDisk() error {
	for _, writers := range []int{1, 2} {
		syscall.Sync()
		begun := time.Now()
		errs := make([]error, writers)
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() { // ends with its share
				errs[i] = fill(filepath.Join(b.dir, fmt.Sprintf("disk-%d", i)), diskBytes/writers)
			})
		}
		all.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		r := sample{Seconds: time.Since(begun).Seconds(), Bytes: diskBytes}
		name := fmt.Sprintf("disk, %d writing", writers)
		b.results.add(name, "disk", r)
		fmt.Printf("- %-17s %.0f MB/s\n", name, r.rate())
	}
	return nil
}

func fill(path string, size int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	defer f.Close()
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = padding[i%len(padding)]
	}
	for ; size > 0; size -= len(b) {
		if _, err := f.Write(b); err != nil {
			return err
		}
	}
	return f.Sync()
}
