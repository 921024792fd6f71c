package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// zero is the time of the first record, in nanoseconds since 1970. Each one after it is a
// microsecond later, as the log shows microseconds. None has a 0 at its end, which a
// container runtime would leave out.
const zero = 1_700_000_000_000_000_007

// records writes lines, each with a head before it and a tail behind its newline.
func records(to io.Writer, lines int, head func(before []byte, number int) []byte, tail string) error {
	w := bufio.NewWriterSize(to, 1<<20)
	block, number := newBlock(0), 0
	var record []byte
	for number < lines {
		text, _ := block.take(lines - number)
		for line := range bytes.Lines(text) {
			record = append(append(head(record[:0], number), line...), tail...)
			if _, err := w.Write(record); err != nil {
				return err
			}
			number++
		}
	}
	return w.Flush()
}

// criHead is what a container runtime writes before a line.
func criHead(before []byte, number int) []byte {
	at := time.Unix(0, zero+int64(number)*1000).UTC()
	return append(at.AppendFormat(before, "2006-01-02T15:04:05.000000000Z07:00"), " stdout F "...)
}

// sourceCRI is a file with so many records, written once.
func (b *bench) sourceCRI(lines int) (string, error) {
	path := filepath.Join(b.dir, fmt.Sprintf("in-cri-%d.log", lines))
	size := newBlock(0).size(lines) + int64(lines)*int64(len(criHead(nil, 0)))
	if fi, err := os.Stat(path); err == nil && fi.Size() == size {
		return path, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	return path, errors.Join(records(f, lines, criHead, ""), f.Close())
}

// exportHead is an entry in the export format up to its text, with the fields that an entry
// of a service has.
func exportHead(before []byte, number int) []byte {
	since := int64(number) + 1
	at := int64(zero)/1000 + since
	return fmt.Appendf(before, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%032x\n"+
		"_SOURCE_REALTIME_TIMESTAMP=%[1]d\n_TRANSPORT=journal\n_MACHINE_ID=%032[4]x\n_HOSTNAME=bench\n"+
		"PRIORITY=6\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=bench\n"+
		"_PID=4242\n_UID=1000\n_GID=1000\n_COMM=bench\n_EXE=/usr/bin/bench\n_CMDLINE=/usr/bin/bench --all\n"+
		"_SYSTEMD_UNIT=bench.service\n_SYSTEMD_CGROUP=/system.slice/bench.service\nMESSAGE=", at, since, 1, 2)
}

// journal is a directory with a journal of so many entries, made once in a run.
func (b *bench) journal(entries int) (string, error) {
	dir := filepath.Join(b.dir, fmt.Sprintf("journal-%d", entries))
	if _, err := os.Stat(dir); err == nil {
		return dir, cachedAll(filepath.Join(dir, "*"))
	}
	making := dir + ".making"
	if err := errors.Join(os.RemoveAll(making), os.MkdirAll(making, 0o750)); err != nil {
		return "", err
	}
	c := exec.Command(journalRemote, "--output="+filepath.Join(making, "bench.journal"), "-")
	var says bytes.Buffer
	c.Stderr = &says
	in, err := c.StdinPipe()
	if err != nil {
		return "", err
	}
	if err := c.Start(); err != nil {
		return "", err
	}
	err = errors.Join(records(in, entries, exportHead, "\n"), in.Close(), c.Wait())
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", journalRemote, err, says.Bytes())
	}
	if err := os.Rename(making, dir); err != nil {
		return "", err
	}
	return dir, cachedAll(filepath.Join(dir, "*"))
}

// cachedAll reads the files of a pattern.
func cachedAll(pattern string) error {
	files, err := filepath.Glob(pattern)
	for _, f := range files {
		err = errors.Join(err, cached(f))
	}
	return err
}
