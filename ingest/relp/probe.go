package relp

// probed is what the kernel knows of a connection.
type probed struct {
	ended   bool // the peer has closed it, or it broke
	unread  int  // bytes that came and were not read
	unacked int  // segments with answers that have not arrived

	retransmits int // in vain, of the first of these, one after the other
}
