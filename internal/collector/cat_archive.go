package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/sink"
	"fanin/sink/depot"
	"fanin/sink/merge"
)

// runArchive prints the lines of an archive.
func (x *cat) runArchive(ctx context.Context, args []string, stdout io.Writer) error {
	if x.until != "" || x.from != "" || x.follow || x.position || len(x.urls) > 0 {
		return daemon.Exitf(daemon.ExitUsage, "an archive is printed as a whole, or with --since: remove --until, "+
			"--from, --follow, --print-position and --url")
	}
	if err := x.prepare(); err != nil {
		return err
	}
	d, err := x.o.depot(&x.archive, args)
	if err != nil {
		return err
	}
	files, err := d.Files(ctx)
	if err != nil {
		return err
	}
	filter := x.lineFilter.filter()
	filter.Since = x.begin
	var before depot.Manifest
	for _, m := range byBeginning(files) {
		if m.Log == before.Log && m.Generation > before.Generation+1 {
			x.missing = true
			escape.Fprintf(x.stderr, "log %s: the generations %d to %d are not in the archive\n", m.Log,
				before.Generation+1, m.Generation-1)
		}
		if before = m; m.Closed.Before(x.begin) {
			continue
		}
		if x.out, err = newCatPrinter(stdout, m.Layout, &x.catOptions, filter); err != nil {
			return daemon.Exitf(daemon.ExitUsage, "%w", err)
		}
		if err := x.file(ctx, d, m); err != nil {
			return fmt.Errorf("%s/%s/%s: %w", d, m.Log, m.File.Name, err)
		}
	}
	return x.complete()
}

// byBeginning orders files by their logs, the log that was begun first before the others.
func byBeginning(files []depot.Manifest) []depot.Manifest {
	begun := make(map[string]time.Time)
	for _, m := range files {
		if _, known := begun[m.Log]; !known { // the first file of a log comes first
			begun[m.Log] = m.Opened
		}
	}
	slices.SortStableFunc(files, func(a, b depot.Manifest) int { return begun[a.Log].Compare(begun[b.Log]) })
	return files
}

// catBlock is how much text of an archived file is printed at a time, unless a line is longer.
const catBlock = 1 << 20

// file prints the lines of a file.
func (x *cat) file(ctx context.Context, d *depot.Depot, m depot.Manifest) error {
	text, err := d.Text(ctx, m)
	if err != nil {
		return err
	}
	at := merge.Place{At: sink.Position{Generation: m.Generation}}
	buf := make([]byte, 0, catBlock)
	for ended := false; err == nil && !ended; {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, cap(buf))
		}
		var n int
		n, err = text.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if ended = errors.Is(err, io.EOF); ended {
			err = nil
			if len(buf) > 0 && buf[len(buf)-1] != '\n' {
				buf = append(buf, '\n')
			}
		}
		if whole := bytes.LastIndexByte(buf, '\n') + 1; err == nil && whole > 0 && (ended || len(buf) > cap(buf)/2) {
			err = x.out.piece(merge.Piece{At: at, Text: buf[:whole]})
			at.At.Offset += int64(whole)
			buf = buf[:copy(buf, buf[whole:])]
		}
	}
	return errors.Join(err, x.out.flush(), text.Close())
}
