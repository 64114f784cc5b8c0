package smtpd

import "pennypost/queue"

// OnDisk is a spool on a disk as this package wants it.
func OnDisk(s *queue.Spool) Spool { return onDisk{s} }

type onDisk struct{ *queue.Spool }

func (d onDisk) Begin(producer string, env *queue.Envelope) (Writer, error) {
	w, err := d.Spool.Begin(producer, env)
	if err != nil {
		return nil, err // not a Writer that holds a nil
	}
	return w, nil
}

func (d onDisk) BeginReady(producer, id string) (Writer, error) {
	w, err := d.Spool.BeginReady(producer, id)
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (d onDisk) Free() (bytes, inodes uint64, err error) { return d.Disk.Free() }
