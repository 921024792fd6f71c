package journal

import (
	"bufio"
	"context"
	"encoding/hex"
	"io"
	"maps"
	"strconv"
	"strings"
)

// tails returns the number of the latest entry of each sequence, as the headers of the journal's
// files have it.
func tails(ctx context.Context, directory string) (map[sequenceID]uint64, error) {
	args := []string{"--header", "--no-pager", "--quiet"}
	if directory != "" {
		args = append(args, "--directory="+directory)
	}
	c, err := start(ctx, args)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { c.out.Close() })()
	latest := parseHeaders(c.out)
	io.Copy(io.Discard, c.out) // until it ends by itself
	return latest, c.cmd.Wait()
}

// parseHeaders reads what journalctl --header prints: for each file, lines such as
//
//	Sequential number ID: 2aa7938084e446b09a94a2e0981f0157
//	Tail sequential number: 1234 (4d2)
//
// Older releases begin each word with a capital. What is not understood is left out.
func parseHeaders(in io.Reader) map[sequenceID]uint64 {
	latest := make(map[sequenceID]uint64)
	var id sequenceID
	for s := bufio.NewScanner(in); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), ": ")
		switch strings.ToLower(name) {
		case "file path":
			id = sequenceID{}
		case "sequential number id":
			if b, err := hex.DecodeString(value); err == nil && len(b) == len(id) {
				id = sequenceID(b)
			}
		case "tail sequential number":
			word, _, _ := strings.Cut(value, " ")
			if n, err := strconv.ParseUint(word, 10, 64); err == nil && id != (sequenceID{}) {
				latest[id] = max(latest[id], n)
			}
		}
	}
	return latest
}

// unread returns the latest numbers of the sequences of which journalctl has not printed the last
// entry. It follows all files, and looks at one again only when that changes: of an entry that
// was not complete at that moment it learns with the next one. Those for which it was started
// again before are left out: their entry cannot be read.
func (j *Journal) unread(ctx context.Context) map[sequenceID]uint64 {
	ctx, cancel := context.WithTimeout(ctx, j.AnswerWithin)
	defer cancel()
	latest, err := tails(ctx, j.Directory)
	if err != nil {
		return nil // the next check asks again
	}
	maps.DeleteFunc(latest, func(id sequenceID, n uint64) bool {
		p, known := j.done[id]
		mayBeOthers := !known && j.Directory == "" // of another machine
		return n <= p.number || n == j.restarted[id] || mayBeOthers
	})
	return latest
}
