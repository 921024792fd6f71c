package depot

import (
	"context"
	"io"
)

// store has objects, each with a name and a content. Names have parts that are separated by "/".
type store interface {
	// stat returns the size of an object. fs.ErrNotExist: there is none.
	stat(ctx context.Context, name string) (bytes int64, err error)

	// get reads an object. fs.ErrNotExist: there is none.
	get(ctx context.Context, name string) (io.ReadCloser, error)

	// put writes an object, all of it or nothing. fs.ErrExist: fresh was asked for, and there is one.
	put(ctx context.Context, name string, c content) error

	// list calls each with the name of every object, or of those below a part of their names.
	list(ctx context.Context, below string, each func(name string)) error
}

// content is what an object is to have.
type content struct {
	io.Reader
	bytes  int64
	sha256 string // in hexadecimal digits
	fresh  bool   // there must be no object of that name yet
}
