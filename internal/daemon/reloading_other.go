//go:build !unix

package daemon

// Reloading does nothing: there is no service manager to tell.
func Reloading() {}
