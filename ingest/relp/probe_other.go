//go:build !linux

package relp

func (c *conn) probe() probed { return probed{} }
