package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanin/sink"
)

// searchBytes is how much text a search reads; less in a quick run.
const searchBytes = 2 << 30

// search looks for what a log of compressed files does not have, and asks for its histogram. Bytes
// is the text that was searched, Ratio how often its compressed files go into it, P50 how long the histogram
// took, P99 the worst of 20 first lines since a time, Peak the most memory since the start, in which the files
// were compressed.
func (b *bench) search(s subject) (r sample, err error) {
	s.command = rotating(s.command)
	t, err := b.begin(s, 1)
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(t.dir)
	defer t.stop()
	first, size := storyBlock(0), int64(searchBytes)
	if b.quick {
		size = searchBytes / 4
	}
	r.Lines = int(size / (int64(len(first.text))/int64(len(first.ends)) + 45) / 8 * 8)
	begun := time.Now()
	if err := sendNow("story", t.port, r.Lines); err != nil {
		return r, err
	}
	ended := time.Now()
	socket := filepath.Join(t.dir, "state", "control.sock")
	if _, err := control(socket).Post("http://collector/rotate", "", nil); err != nil {
		return r, err
	}
	if r.Bytes, r.Ratio, err = t.compressed(socket); err != nil {
		return r, err
	}
	for range 2 { // the first time, files are read from the disk
		cpu, begun := t.cpu(), time.Now()
		if _, err := asked(socket, "tail?from=start&follow=0&include=there+is+no+such+line"); err != nil {
			return r, err
		}
		r.Seconds, r.CPU = time.Since(begun).Seconds(), t.cpu()-cpu
	}
	var took []float64
	for range 20 {
		begun := time.Now()
		if _, err := asked(socket, "histogram"); err != nil {
			return r, err
		}
		took = append(took, float64(time.Since(begun).Microseconds())/1000)
	}
	r.P50, r.Peak = median(took), t.memory("VmHWM")
	_, r.P99, err = firstLines(socket, begun, ended)
	return r, err
}

// compressed waits until all files but the newest are compressed and all are counted. It returns how much
// text they have, and how often the compressed ones go into theirs.
func (t *trial) compressed(socket string) (size int64, ratio float64, err error) {
	for range 3000 {
		time.Sleep(100 * time.Millisecond)
		files, err := sink.Generations(t.log, filepath.Join(t.dir, "state"))
		if err != nil {
			return 0, 0, err
		}
		var h sink.Histogram
		text, err := asked(socket, "histogram")
		if err == nil {
			err = json.Unmarshal(text, &h)
		}
		if err != nil {
			return 0, 0, err
		}
		plain := 0
		size, ratio, err = sizes(t.dir, files)
		for _, g := range files {
			if g.State == "plain" {
				plain++
			}
		}
		if plain < 2 && h.Complete {
			return size, ratio, err
		}
	}
	return 0, 0, fmt.Errorf("%s: its files are not compressed", t.log)
}

// sizes returns how much text files of a log have, and how often the compressed ones go into theirs; 0: none is.
func sizes(dir string, files []sink.Generation) (text int64, ratio float64, err error) {
	var unpacked, packed int64
	for _, g := range files {
		text += g.Size
		if g.State != "gzip" {
			continue
		}
		fi, err := os.Stat(filepath.Join(dir, g.Name))
		if err != nil {
			return text, 0, err
		}
		unpacked, packed = unpacked+g.Size, packed+fi.Size()
	}
	return text, float64(unpacked) / float64(max(packed, 1)), nil
}

// asked returns the answer to a GET request.
func asked(socket, request string) ([]byte, error) {
	resp, err := control(socket).Get("http://collector/" + request)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return nil, fmt.Errorf("%s: %s", request, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// searchTable shows what searches take.
func (b *bench) searchTable(out *strings.Builder) {
	var rows [][]string
	for _, r := range b.results.of("search") {
		rows = append(rows, []string{r.subject, r.text((*sample).rate, "%.0f"), r.text((*sample).ratePerCPU, "%.0f"), r.text((*sample).ratio, "%.1f"),
			r.text((*sample).p50, "%.0f"), r.text((*sample).p99, "%.1f")})
	}
	table(out, "Search in compressed files, for what they do not have, and a histogram", []string{"", "MB of text/s", "MB per CPU s", "text : gzip",
		"histogram ms", "first line since a time, worst ms"}, rows)
}
