package main

import (
	"errors"
	"io/fs"
	"os"

	"pennypost/internal/config"
	"pennypost/internal/domains"
)

// accounts are the Maildirs there are of virtual users; what is a Unix user's is for that one to look at. What one of them is missing is said, and the others are done.
func accounts(file string) (maildirs []string, failed error) {
	conf, err := config.Load(file, "mail")
	if err != nil {
		return nil, err
	}
	d := domains.FromConfig(conf)
	names, err := d.List()
	if err != nil {
		return nil, err
	}
	for _, domain := range names {
		users, err := d.Users(domain)
		failed = errors.Join(failed, err)
		for _, user := range users {
			a, err := d.Login(user + "@" + domain)
			if err == nil && a.Unix == nil {
				if _, err = os.Stat(a.Maildir); err == nil {
					maildirs = append(maildirs, a.Maildir)
				}
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed = errors.Join(failed, err)
			}
		}
	}
	return maildirs, failed
}
