package sink

import (
	"context"
	"errors"
	"io"
	"io/fs"
)

// FileSource is where VerifyFiles reads files of a log and their ledgers: not in the log's own
// directory, but where they were copied to.
type FileSource interface {
	// Text reads the text of a file from its beginning, decompressed. Its Close reports what is wrong
	// with the file as a whole.
	Text(ctx context.Context, g Generation) (io.ReadCloser, error)

	// Ledger reads the ledger of a file. fs.ErrNotExist: it has none.
	Ledger(ctx context.Context, g Generation) (io.ReadCloser, error)
}

// VerifyFiles holds closed files of one log against their ledgers, as Verify does, without the log's
// state: what only the state knows, such as the watermarks, is not compared. The list is in order.
// path is for the report. The error is ctx's alone.
func VerifyFiles(ctx context.Context, path string, list []Generation, from FileSource) (Report, error) {
	v := newVerifier(path, "")
	v.catalog = newCatalog()
	v.report.Generations = list
	for _, g := range list {
		v.catalog.generations = append(v.catalog.generations,
			&generation{number: g.Number, name: g.Name, size: g.Size, state: g.State})
	}
	for i, g := range list {
		if i > 0 {
			v.follows(&list[i-1], &g)
		}
		if err := v.from(ctx, v.catalog.generations[i], g, from); err != nil {
			v.problem(g.Name, "cannot be verified: %v", err)
		}
		if err := ctx.Err(); err != nil {
			return v.report, err
		}
	}
	v.keyMarks()
	v.finish()
	return v.report, nil
}

// follows checks that nothing is missing between two files.
func (v *verifier) follows(a, b *Generation) {
	switch {
	case b.Number == a.Number:
		v.problem(b.Name, "generation %d is here a second time, after %s: the log was put back to an older state, or "+
			"two collectors have copies of one state", b.Number, a.Name)
	case b.Number > a.Number+1:
		v.problem(b.Name, "generations %d to %d are missing before it", a.Number+1, b.Number-1)
	}
}

// from holds one file against its ledger.
func (v *verifier) from(ctx context.Context, g *generation, listed Generation, from FileSource) (err error) {
	text, err := from.Text(ctx, listed)
	if err != nil {
		return err
	}
	f := &verifiedFile{v: v, g: g, text: streamText(ctx, text, text), size: g.size}
	defer func() { err = errors.Join(err, f.text.Close()) }()
	ledger, err := from.Ledger(ctx, listed)
	if errors.Is(err, fs.ErrNotExist) {
		v.note("%s has no ledger: its lines cannot be verified", g.name)
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.against(ctx, ledger), ledger.Close())
}
