package ship

import "net"

// linkSpeed returns how many bytes a second the network delivered lately, as the kernel
// measured it from the peer's acknowledgements (tcpi_delivery_rate, see tcp(7)); 0: it is not
// known. Neither the time for which the peer does not read is in it, nor that for which this
// side had nothing to send.
func linkSpeed(conn net.Conn) float64 {
	info := tcpInfo(conn)
	if info == nil {
		return 0
	}
	return float64(info.Delivery_rate)
}
