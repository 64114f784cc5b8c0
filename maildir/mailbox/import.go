package mailbox

// importUIDs takes the UIDs of another server over; nil when there are none.
func (f *Folder) importUIDs() (*uids, error) { return nil, nil }
