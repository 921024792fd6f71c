package cluster

// The bucket has these records, each JSON:
//
//	config       settings: what all members must have in common
//	member.ID    Peer: a member's sign of life, written every beat
//	owner.P      owner: the member that owns partition P; the revision is the epoch
//	pin.P        pin: the member that partition P was moved to by hand
//	tenures.P    []Tenure: whose log has which lines of partition P, written when a tenure
//	             begins or ends
//	group.P.NAME Group: in which tenure of partition P a group of workers is, and how far it is
//	             known to be there
const (
	keyConfig  = "config"
	keyMember  = "member."
	keyOwner   = "owner."
	keyPin     = "pin."
	keyTenures = "tenures."
	keyGroup   = "group."
)

// Peer is a member, as all see it.
type Peer struct {
	ID      string `json:"id"`
	Host    string `json:"host"`
	HTTP    string `json:"http,omitempty"` // where it answers over HTTP
	Work    string `json:"work,omitempty"` // where workers connect
	Run     string `json:"run"`            // of the process
	Leaving bool   `json:"leaving,omitempty"`
	Alive   bool   `json:"alive"` // never written: as the member sees it that is asked
}

// owner is the record of a partition's owner.
type owner struct {
	Owner string `json:"owner"` // "": it was handed over, and the next one may begin
	Run   string `json:"run,omitempty"`
}

// pin is the record of a partition that was moved by hand.
type pin struct {
	To string `json:"to"`
}
