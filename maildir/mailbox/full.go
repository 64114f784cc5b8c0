package mailbox

// lookFull is a look on a full disk: nothing can be written, so no new message gets a UID and none is shown. What has one stays
// readable: as it was seen last, or as mb-uids and the directories say. err is why.
func (f *Folder) lookFull(err error) error {
	if f.view != nil {
		return nil
	}
	u, readErr := f.readUIDs()
	if readErr != nil || u.id == "" || len(u.live) == 0 {
		return err
	}
	if f.letters, readErr = newLetterMap(u.letters, f.keywordOf); readErr != nil {
		return err
	}
	fresh := max(u.modBound, u.modseq+1, uint64(wall().Unix())<<20)
	f.validity, f.id = u.validity, u.id
	f.totals = totals{uidNext: max(u.next, u.bound), modseq: fresh, uidBound: u.bound, modBound: u.modBound}
	f.view, f.table = newView(f, f.entriesOf(u, f.salvage(u), fresh)), nil
	found, scanErr := f.scanOf(true, true)
	if scanErr != nil {
		f.view = nil
		return err
	}
	for _, s := range f.view.slots {
		c := s.get()
		for j := range c.uid {
			e := c.entry(j)
			f.totals.count(&e, 1)
		}
	}
	for _, r := range []*record{{kind: recFlags, flags: found.changed}, {kind: recGone, gone: found.missing}} {
		r.totals = f.totals
		f.recount(r)
		f.apply(r)
	}
	f.losses++
	f.stamp()
	f.opened = false // the next look tries again to do it right
	return nil
}
