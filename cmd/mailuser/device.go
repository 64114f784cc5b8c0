package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"pennypost/internal/config"
	"pennypost/login"
	"pennypost/mailuser"
)

// deviceAdd makes a credential and shows, once, what to type into the device.
func deviceAdd(c *cli.Context, s *mailuser.Store) error {
	who, name := c.Args().Get(0), c.Args().Get(1)
	if name == "main" {
		return usage("main is the person's own password: mailuser credential add")
	}
	k, password, err := credential(c, s, name)
	if err != nil {
		return err
	}
	if err := s.AddCredential(who, k, c.Bool("replace")); err != nil {
		return err
	}
	// What the servers listen on; where their sections have mistakes, the usual ports will do.
	conf, err := config.Load(c.Path("config"), "smtpd", "imapd", "pop3d", "maillogin")
	if err != nil {
		if conf, err = config.Load(c.Path("config")); err != nil {
			return err
		}
	}
	fmt.Fprintf(c.App.Writer, "added %s of %s; type into it, for this is shown once:\n", k.Name, who)
	return s.PrintSettings(c.App.Writer, conf, who, password, k.Scope)
}

func deviceApprove(c *cli.Context, s *mailuser.Store) error {
	networks, err := s.Approve(c.Args().Get(0), c.Args().Get(1), c.Args().Get(2))
	if len(networks) > 0 {
		fmt.Fprintf(c.App.Writer, "%s of %s may log in from %s\n", c.Args().Get(1), c.Args().Get(0), strings.Join(networks, " "))
	}
	return err
}

// credentialImport reads what another program has made of a password; it is no argument, for ps shows those.
func credentialImport(c *cli.Context, s *mailuser.Store) error {
	line, err := bufio.NewReader(io.LimitReader(os.Stdin, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	k, err := s.ImportCredential(c.Args().Get(1), line, mailuser.Limits{
		Scope: c.String("scope"), Expires: c.String("expires"), Networks: c.String("networks"), Note: c.String("note"),
		ActsFor: c.String("acts-for"), Approval: c.String("approval"),
	})
	if err != nil {
		return err
	}
	if err := s.AddCredential(c.Args().Get(0), k, c.Bool("replace")); err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "imported credential %s of %s\n", k.Name, c.Args().Get(0))
	if weak := k.Weak(); weak != "" {
		fmt.Fprintf(c.App.Writer, "it is weak (%s), and is replaced at its first login\n", weak)
	}
	return nil
}

func totpAdd(c *cli.Context, s *mailuser.Store) error {
	key, err := s.AddTOTP(c.Args().Get(0))
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "key for a program for codes: %s\n%s\n(it is shown this once)\n", key, login.TOTPURL(c.Args().Get(0), key))
	fmt.Fprintln(c.App.Writer, "from now on the main password needs the six digits of a code behind it, typed without a space;")
	fmt.Fprintln(c.App.Writer, "mail programs, which keep passwords, need one of their own: mailuser device add")
	return nil
}

func totpRemove(c *cli.Context, s *mailuser.Store) error {
	err := s.RemoveTOTP(c.Args().Get(0))
	if err == nil {
		fmt.Fprintf(c.App.Writer, "the main password of %s is good without a code\n", c.Args().Get(0))
	}
	return err
}

func logins(c *cli.Context, s *mailuser.Store) error {
	list, err := s.Logins(c.Args().Get(0))
	return show(c, list, err, mailuser.PrintLogins)
}
