package depot

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// bucket is a store in a bucket of an S3-compatible server, below a prefix.
type bucket struct {
	place  Place
	client *minio.Core
	single int64 // what is larger is sent in parts
	part   uint64
	simple bool // the server knows no If-None-Match
}

const (
	maxSingle = 5 << 30 // what Amazon accepts in one request
	partSize  = 64 << 20
)

func newBucket(p Place) (*bucket, error) {
	if err := p.CheckEndpoint(); err != nil {
		return nil, err
	}
	u, err := url.Parse(p.endpoint())
	if err != nil {
		return nil, err
	}
	client, err := minio.NewCore(u.Host, &minio.Options{Secure: u.Scheme == "https", Region: p.Region, MaxRetries: 1,
		Creds: credentials.New(keyFiles{&p}), Transport: p.transport()})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.endpoint(), err)
	}
	return &bucket{place: p, client: client, single: maxSingle, part: partSize}, nil
}

// transport is how requests are sent. One goroutine sends them, one after the other.
func (p *Place) transport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext,
		TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute,
		DisableCompression: true, TLSClientConfig: &tls.Config{}}
	if p.TLS != nil {
		t.TLSClientConfig = p.TLS()
	}
	t.TLSClientConfig.MinVersion = tls.VersionTLS12 // many servers of this kind know nothing newer
	return t
}

// keyFiles provides the key, from its files as they are at each request.
type keyFiles struct{ place *Place }

// Retrieve implements credentials.Provider.
func (k keyFiles) Retrieve() (credentials.Value, error) {
	access, secret, err := k.place.Secrets()
	return credentials.Value{AccessKeyID: access, SecretAccessKey: secret, SignerType: credentials.SignatureV4}, err
}

// RetrieveWithCredContext implements credentials.Provider.
func (k keyFiles) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return k.Retrieve()
}

// IsExpired implements credentials.Provider.
func (keyFiles) IsExpired() bool { return true }

func (b *bucket) key(name string) string { return path.Join(b.place.Prefix, name) }

func (b *bucket) stat(ctx context.Context, name string) (int64, error) {
	w := b.watch(ctx)
	defer w.stop()
	info, err := b.client.StatObject(w.ctx, b.place.Bucket, b.key(name), minio.StatObjectOptions{})
	return info.Size, b.explain(w, err)
}

func (b *bucket) get(ctx context.Context, name string) (io.ReadCloser, error) {
	w := b.watch(ctx)
	body, _, _, err := b.client.GetObject(w.ctx, b.place.Bucket, b.key(name), minio.GetObjectOptions{})
	if err != nil {
		defer w.stop()
		return nil, b.explain(w, err)
	}
	return &download{body, b, w}, nil
}

func (b *bucket) put(ctx context.Context, name string, c content) error {
	w := b.watch(ctx)
	defer w.stop()
	body := &moving{c, w}
	if c.bytes > b.single {
		return b.explain(w, b.putParts(w.ctx, name, body, c.bytes))
	}
	// The server compares what it gets with the SHA-256 that the signature covers.
	o := minio.PutObjectOptions{DisableContentSha256: true}
	if c.fresh && !b.simple {
		o.SetMatchETagExcept("*")
	}
	_, err := b.client.PutObject(w.ctx, b.place.Bucket, b.key(name), body, c.bytes, "", c.sha256, o)
	b.simple = b.simple || minio.ToErrorResponse(err).StatusCode == http.StatusNotImplemented // for the next attempt
	return b.explain(w, err)
}

// putParts puts what is too large for one request. Parts of an attempt that was killed are removed.
func (b *bucket) putParts(ctx context.Context, name string, body io.Reader, bytes int64) error {
	if err := b.client.RemoveIncompleteUpload(ctx, b.place.Bucket, b.key(name)); err != nil {
		return err
	}
	_, err := b.client.Client.PutObject(ctx, b.place.Bucket, b.key(name), body, bytes,
		minio.PutObjectOptions{PartSize: b.part, NumThreads: 1})
	return err
}

func (b *bucket) list(ctx context.Context, below string, each func(name string)) error {
	prefix, all := "", ""
	if b.place.Prefix != "" {
		prefix = b.place.Prefix + "/"
	}
	if all = prefix; below != "" {
		all += below + "/"
	}
	w := b.watch(ctx)
	defer w.stop()
	for o := range b.client.ListObjectsIter(w.ctx, b.place.Bucket, minio.ListObjectsOptions{Prefix: all,
		Recursive: true}) {
		if o.Err != nil {
			return b.explain(w, o.Err)
		}
		w.moved()
		each(strings.TrimPrefix(o.Key, prefix))
	}
	return b.explain(w, w.ctx.Err())
}

// watch cancels a request when nothing has moved for a while.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	after  time.Duration
}

func (b *bucket) watch(ctx context.Context) *watch {
	w := &watch{after: b.place.stall}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(w.after, func() {
		w.cancel(fmt.Errorf("%s does not answer: nothing moved for %s", b.place.endpoint(), w.after))
	})
	return w
}

func (w *watch) moved() { w.timer.Reset(w.after) }

func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// moving is the body of a request.
type moving struct {
	io.Reader
	w *watch
}

// Read implements io.Reader.
func (m *moving) Read(p []byte) (int, error) {
	m.w.moved()
	return m.Reader.Read(p)
}

// download is the body of an answer.
type download struct {
	io.ReadCloser
	b *bucket
	w *watch
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	d.w.moved()
	if err != nil && err != io.EOF {
		err = d.b.explain(d.w, err)
	}
	return n, err
}

// Close implements io.Closer.
func (d *download) Close() error {
	d.w.stop()
	return d.ReadCloser.Close()
}

// explain makes the error of a request one that says what to do.
func (b *bucket) explain(w *watch, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(w.ctx); cause != nil {
		return cause
	}
	e := minio.ToErrorResponse(err)
	p := &b.place
	switch {
	case e.Code == minio.NoSuchKey:
		return fmt.Errorf("%s: %w", e.Key, fs.ErrNotExist)
	case e.Code == minio.PreconditionFailed:
		return fmt.Errorf("%s: %w", e.Key, fs.ErrExist)
	case e.Code == minio.NoSuchBucket:
		return fmt.Errorf("the bucket %s does not exist at %s: make it, or correct collector.archive.to", p.Bucket,
			p.endpoint())
	case refusesKey(&e):
		return fmt.Errorf("%s refuses the key in %s and %s for the bucket %s (%s: %s): correct the files, or allow "+
			"the key to read, write and list there", p.endpoint(), p.AccessKeyFile, p.SecretKeyFile, p.Bucket, e.Code,
			e.Message)
	case e.StatusCode != 0:
		return fmt.Errorf("%s answers %d (%s: %s)", p.endpoint(), e.StatusCode, e.Code, e.Message)
	}
	if u := new(url.Error); errors.As(err, &u) {
		err = u.Err // the URL has the name of each object
	}
	return fmt.Errorf("%s: %w", p.endpoint(), err)
}

// refusesKey reports whether an answer is about the key. One server has a code of its own, and answers 404.
func refusesKey(e *minio.ErrorResponse) bool {
	return e.StatusCode == http.StatusForbidden || e.StatusCode == http.StatusUnauthorized ||
		e.Code == "XAdminUserNotFound"
}
