// Command s3 is an S3-compatible server for tests: versitygw, over a directory. Each directory in
// it is a bucket.
//
//	s3 ADDRESS DIRECTORY METADATA ACCESS SECRET
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: s3 ADDRESS DIRECTORY METADATA ACCESS SECRET")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	attributes, err := meta.NewSideCar(args[2]) // not every file system has its own
	if err != nil {
		return err
	}
	backend, err := posix.New(args[1], attributes, posix.PosixOpts{SideCarDir: args[2]})
	if err != nil {
		return err
	}
	return embedgw.RunVersityGW(ctx, backend, &embedgw.Config{Ports: args[:1], RootUserAccess: args[3],
		RootUserSecret: args[4], MaxConnections: 1000, MaxRequests: 1000, MultipartMaxParts: 10000, Quiet: true,
		KeepAlive: true})
}
