package listen

import "net"

// Handed are the sockets that a supervisor handed over, whatever their names, else those of addresses.
func Handed(addresses []string) (on []net.Listener, err error) {
	passed, err := Passed()
	if err != nil {
		return nil, err
	}
	for _, l := range passed {
		on = append(on, l...)
	}
	if len(on) > 0 {
		return on, nil
	}
	return Open(addresses)
}
