package depot

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"fanin/internal/disk"
)

// Place is where copies are: a directory, or a bucket of an S3-compatible server.
type Place struct {
	Dir string // file:///DIR; "": it is a bucket

	Bucket, Prefix string             // s3://BUCKET/PREFIX
	Endpoint       string             // URL of the server; "": Amazon's
	Region         string             // "": the server is asked
	AccessKeyFile  string             // the file that has the id of the key
	SecretKeyFile  string             // the file that has the key
	TLS            func() *tls.Config // nil: the authorities of this machine

	stall time.Duration // a request fails when nothing moves for so long; 0: a minute
}

// amazon is where buckets are without an endpoint.
const amazon = "https://s3.amazonaws.com"

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// ParsePlace reads file:///DIR or s3://BUCKET/PREFIX.
func ParsePlace(to string) (p Place, err error) {
	u, err := url.Parse(to)
	if err != nil || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return p, fmt.Errorf("%q: want file:///DIRECTORY or s3://BUCKET/PREFIX", to)
	}
	switch {
	case u.Scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path):
		p.Dir = filepath.Clean(u.Path)
	case u.Scheme == "file":
		return p, fmt.Errorf("%q: want an absolute path after file://, as in file:///mnt/archive", to)
	case u.Scheme == "s3" && bucketName.MatchString(u.Host):
		p.Bucket, p.Prefix = u.Host, strings.Trim(u.Path, "/")
	case u.Scheme == "s3":
		return p, fmt.Errorf("%q: want a bucket after s3://, of a-z, 0-9, '-' and '.', as in s3://logs/site-1", to)
	default:
		return p, fmt.Errorf("%q: want file:///DIRECTORY or s3://BUCKET/PREFIX", to)
	}
	return p, nil
}

// String is the place as in the configuration.
func (p Place) String() string {
	if p.Dir != "" {
		return "file://" + p.Dir
	}
	return strings.TrimSuffix("s3://"+p.Bucket+"/"+p.Prefix, "/")
}

// identity distinguishes the place from all others.
func (p Place) identity() string {
	if p.Dir != "" {
		return p.String()
	}
	return p.String() + " at " + p.endpoint()
}

// CheckEndpoint reports what is wrong with the endpoint.
func (p *Place) CheckEndpoint() error {
	u, err := url.Parse(p.endpoint())
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" ||
		u.RawQuery != "" || u.User != nil {
		return fmt.Errorf("%q: want a URL without a path, as in https://s3.example.net:9000", p.Endpoint)
	}
	return nil
}

// Exposed reports whether what is sent can be read on its way to another machine.
func (p *Place) Exposed() bool {
	u, err := url.Parse(p.endpoint())
	if err != nil || u.Scheme != "http" || u.Hostname() == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err != nil || !ip.IsLoopback()
}

func (p *Place) endpoint() string { return cmp.Or(p.Endpoint, amazon) }

// Secrets reads the key. It is read again for each request, so it may change.
func (p *Place) Secrets() (access, secret string, err error) {
	if p.AccessKeyFile == "" || p.SecretKeyFile == "" {
		return "", "", errors.New("an s3:// place needs access_key_file and secret_key_file")
	}
	access, err = disk.ReadSecret(p.AccessKeyFile)
	if err == nil {
		secret, err = disk.ReadSecret(p.SecretKeyFile)
	}
	return access, secret, err
}

// open returns the store at the place. d is the disk of a directory; nil: the real one.
func (p Place) open(d *disk.Disk) (store, error) {
	p.stall = cmp.Or(p.stall, time.Minute)
	if p.Dir != "" {
		return &directory{path: p.Dir, disk: d}, nil
	}
	return newBucket(p)
}
