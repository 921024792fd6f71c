package depot

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"fanin/sink"
)

// A file of a log has three objects in a depot, written in this order:
//
//	LOG/GENERATION-CLOSED.log.gz    the file as it was on the collector's disk; .log if it is not compressed
//	LOG/GENERATION-CLOSED.ledger    its ledger, if it has one: records of 80 bytes, see sink/record.go
//	LOG/GENERATION-CLOSED.json      the manifest
//
// LOG is the id of the log, 32 hexadecimal digits: collectors with different logs may share a place.
// GENERATION has at least 8 digits, and CLOSED is when the file was closed, in UTC, such as
// 20261126T160405.123Z: a log that was put back to an older state uses its numbers again. The manifest
// is a JSON object, indented by two spaces, and ends with a newline:
//
//	format      1
//	log         as in its name
//	host        the collector's, as in its notices
//	layout      of the lines: "syslog", "json" or "raw"
//	generation  as in its name
//	opened      when the file was begun and closed, RFC 3339, in UTC, to the microsecond
//	closed
//	lines       as many as the ledger has
//	text_bytes  of the file, decompressed
//	file        {name, bytes, sha256}: of the object, without LOG; sha256 is in hexadecimal digits
//	ledger      likewise; absent: the file has no ledger
//	marks       likewise; absent: it is not known where the streams were at the end of the file
//
// A reader leaves out what it does not know, and refuses another format. A file without a manifest does
// not count: its copy was not completed.

// Manifest describes the copy of one closed file.
type Manifest struct {
	Format     int       `json:"format"`
	Log        string    `json:"log"`
	Host       string    `json:"host"`
	Layout     string    `json:"layout"`
	Generation uint64    `json:"generation"`
	Opened     time.Time `json:"opened"`
	Closed     time.Time `json:"closed"`
	Lines      uint64    `json:"lines"`
	TextBytes  int64     `json:"text_bytes"`
	File       Object    `json:"file"`
	Ledger     Object    `json:"ledger,omitzero"`
	Marks      Object    `json:"marks,omitzero"`
}

// Object is one object of a copy.
type Object struct {
	Name   string `json:"name"` // without the log's id
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

const (
	manifestFormat = 1
	manifestSuffix = ".json"
	ledgerSuffix   = ".ledger"
	marksSuffix    = ".marks"
	gzipSuffix     = ".log.gz"
	plainSuffix    = ".log"
	maxManifest    = 64 << 10
	stemTime       = "20060102T150405.000Z"
)

// stemOf is what the names of the objects of a file begin with.
func stemOf(g sink.Generation) string {
	return fmt.Sprintf("%08d-%s", g.Number, g.Closed.UTC().Format(stemTime))
}

// cutSuffix cuts the suffix of an object's name; "": it has none of these.
func cutSuffix(name string) (base, suffix string) {
	for _, suffix := range []string{manifestSuffix, ledgerSuffix, marksSuffix, gzipSuffix, plainSuffix} {
		if base, ok := strings.CutSuffix(name, suffix); ok {
			return base, suffix
		}
	}
	return name, ""
}

// parseStem returns the generation of a stem.
func parseStem(stem string) (generation uint64, ok bool) {
	digits, closed, _ := strings.Cut(stem, "-")
	generation, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || len(digits) < 8 {
		return 0, false
	}
	_, err = time.Parse(stemTime, closed)
	return generation, err == nil
}

func isStem(text string) bool { _, ok := parseStem(text); return ok }

// compareStems compares by generation, then by time.
func compareStems(a, b string) int {
	m, _ := parseStem(a)
	n, _ := parseStem(b)
	return cmp.Or(cmp.Compare(m, n), strings.Compare(a, b))
}

var logID = regexp.MustCompile(`^[0-9a-f]{32}$`)

func isLog(text string) bool { return logID.MatchString(text) }

// same reports whether two manifests describe the same content.
func (m *Manifest) same(other *Manifest) bool {
	return m.Log == other.Log && m.Generation == other.Generation && m.File == other.File && m.Ledger == other.Ledger &&
		m.Marks == other.Marks
}

// encode is the manifest as an object has it.
func (m *Manifest) encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}

var sum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// manifestError is of an object that is no manifest, or none that this program can read.
type manifestError struct{ is string }

func (e *manifestError) Error() string { return "its manifest " + e.is }

// parseManifest reads the manifest of base, which is log/stem. An error is a *manifestError.
func parseManifest(b []byte, base string) (m Manifest, err error) {
	if err := json.Unmarshal(b, &m); err != nil {
		return Manifest{}, &manifestError{"is damaged: " + err.Error()}
	}
	if m.Format != manifestFormat {
		return Manifest{}, &manifestError{fmt.Sprintf("has format %d, and this program knows %d: use a newer one",
			m.Format, manifestFormat)}
	}
	log, stem, _ := strings.Cut(base, "/")
	number, ok := parseStem(stem)
	file := m.File.Name == stem+gzipSuffix || m.File.Name == stem+plainSuffix
	if !ok || m.Log != log || m.Generation != number || m.TextBytes < 0 || !file || !m.File.valid() ||
		!m.Ledger.validAs(stem+ledgerSuffix) || !m.Marks.validAs(stem+marksSuffix) {
		return Manifest{}, &manifestError{"is damaged: it does not fit its name"}
	}
	return m, nil
}

// validAs reports whether o is the object of that name, or none.
func (o *Object) validAs(name string) bool { return *o == (Object{}) || o.Name == name && o.valid() }

func (o *Object) valid() bool { return o.Bytes >= 0 && sum.MatchString(o.SHA256) }

// readManifest reads the manifest of base. fs.ErrNotExist: there is none.
func readManifest(ctx context.Context, s store, base string) (Manifest, error) {
	r, err := s.get(ctx, base+manifestSuffix)
	if err != nil {
		return Manifest{}, err
	}
	defer r.Close()
	var b bytes.Buffer
	if n, err := b.ReadFrom(io.LimitReader(r, maxManifest+1)); err != nil {
		return Manifest{}, fmt.Errorf("read its manifest: %w", err)
	} else if n > maxManifest {
		return Manifest{}, &manifestError{"is damaged: it is too long"}
	}
	return parseManifest(b.Bytes(), base)
}
