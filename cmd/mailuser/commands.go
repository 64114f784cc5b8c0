package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"pennypost/internal/config"
	"pennypost/login"
	"pennypost/mailuser"
)

// usage is an error of the command line.
type usage string

func (u usage) Error() string { return string(u) }

var (
	asJSON  = &cli.BoolFlag{Name: "json", Usage: "for programs"}
	force   = &cli.BoolFlag{Name: "force", Usage: "although it is in use"}
	replace = &cli.BoolFlag{Name: "replace", Usage: "if it is there already"}
	stdin   = &cli.BoolFlag{Name: "stdin", Usage: "read the password from standard input, a line, instead of making one"}
	limits  = []cli.Flag{stdin, &cli.StringFlag{Name: "scope", Usage: "services it is for: \"smtp pop3 imap\""}, &cli.StringFlag{Name: "expires", Usage: "30d, 2027-01-31"}, &cli.StringFlag{Name: "networks", Usage: "it may be used from"}, &cli.StringFlag{Name: "note", Usage: "what it is for"},
		&cli.StringFlag{Name: "acts-for", Usage: "accounts it opens besides its own: USER@DOMAIN, *@DOMAIN"}, &cli.StringFlag{Name: "approval", Usage: "yes or no: a new network waits for device approve"}}
)

// commands are the nouns and their verbs.
func commands() []*cli.Command {
	return []*cli.Command{
		{Name: "domain", Usage: "domains whose mail is ours", Subcommands: []*cli.Command{
			command("add", "DOMAIN", 1, 1, domainAdd, &cli.StringFlag{Name: "alias-of", Usage: "another name for this domain"}, &cli.BoolFlag{Name: "system", Usage: "the users of this host have mail there"}),
			command("list", "", 0, 0, domainList, asJSON),
			command("show", "DOMAIN", 1, 1, domainShow, asJSON),
			command("remove", "DOMAIN", 1, 1, domainRemove, force),
		}},
		{Name: "user", Usage: "accounts", Subcommands: []*cli.Command{
			command("add", "USER@DOMAIN", 1, 1, userAdd, append([]cli.Flag{&cli.StringFlag{Name: "quota", Usage: "10GiB"}, &cli.BoolFlag{Name: "no-credential", Usage: "nobody can log in yet"}}, limits...)...),
			command("list", "[DOMAIN]", 0, 1, userList, asJSON),
			command("show", "USER@DOMAIN", 1, 1, userShow, asJSON),
			command("remove", "USER@DOMAIN", 1, 1, userRemove),
		}},
		{Name: "credential", Usage: "passwords, one for each device", Subcommands: []*cli.Command{
			command("add", "USER@DOMAIN NAME", 2, 2, credentialAdd, append([]cli.Flag{replace}, limits...)...),
			command("import", "USER@DOMAIN NAME", 2, 2, credentialImport, append([]cli.Flag{replace}, limits[1:]...)...),
			command("list", "USER@DOMAIN", 1, 1, credentialList, asJSON),
			command("remove", "USER@DOMAIN NAME", 2, 2, credentialRemove),
		}},
		{Name: "device", Usage: "passwords of telephones and programs, made here and typed there", Subcommands: []*cli.Command{
			command("add", "USER@DOMAIN NAME", 2, 2, deviceAdd, append([]cli.Flag{replace}, limits[1:]...)...),
			command("list", "USER@DOMAIN", 1, 1, credentialList, asJSON),
			command("remove", "USER@DOMAIN NAME", 2, 2, credentialRemove),
			command("approve", "USER@DOMAIN NAME [NETWORK]", 2, 3, deviceApprove),
		}},
		{Name: "totp", Usage: "codes behind the main password", Subcommands: []*cli.Command{
			command("add", "USER@DOMAIN", 1, 1, totpAdd),
			command("remove", "USER@DOMAIN", 1, 1, totpRemove),
		}},
		command("logins", "USER@DOMAIN", 1, 1, logins, asJSON),
		{Name: "alias", Usage: "addresses that lead to others", Subcommands: []*cli.Command{
			command("add", "NAME@DOMAIN TARGET...", 2, 1000, aliasAdd, replace),
			command("list", "DOMAIN", 1, 1, aliasList, asJSON),
			command("remove", "NAME@DOMAIN", 1, 1, aliasRemove),
		}},
	}
}

func newApp() *cli.App {
	return &cli.App{
		Name: "mailuser", Usage: "make, show and remove domains, accounts, credentials and aliases", HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
			&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"},
		},
		Commands: commands(),
		Action: func(c *cli.Context) error {
			if c.Bool("check") {
				_, err := config.Load(c.Path("config"), mailuser.Sections...)
				return err
			}
			return usage("say domain, user, credential, device, totp, logins or alias; mailuser --help tells more")
		},
		ExitErrHandler: func(*cli.Context, error) {},
	}
}

// command is one verb: it opens the store and counts the arguments.
func command(name, args string, least, most int, do func(*cli.Context, *mailuser.Store) error, flags ...cli.Flag) *cli.Command {
	return &cli.Command{Name: name, ArgsUsage: args, Flags: flags, HideHelpCommand: true, Action: func(c *cli.Context) error {
		if n := c.NArg(); n < least || n > most {
			return usage("write: " + c.Command.HelpName + " " + args)
		}
		conf, err := config.Load(c.Path("config"), mailuser.Sections...)
		if err != nil {
			return err
		}
		s, err := mailuser.Open(conf)
		if err != nil {
			return err
		}
		return do(c, s)
	}}
}

func show[T any](c *cli.Context, v T, err error, text func(io.Writer, T) error) error {
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return mailuser.PrintJSON(c.App.Writer, v)
	}
	return text(c.App.Writer, v)
}

func domainAdd(c *cli.Context, s *mailuser.Store) error {
	if c.Bool("system") && c.String("alias-of") != "" {
		return usage("either --system or --alias-of")
	}
	name, err := s.AddDomain(c.Args().Get(0), c.String("alias-of"), c.Bool("system"))
	if err == nil {
		fmt.Fprintf(c.App.Writer, "added %s; smtpd takes mail for it within a second\n", name)
	}
	return err
}

func domainList(c *cli.Context, s *mailuser.Store) error {
	list, err := s.Domains()
	return show(c, list, err, mailuser.PrintDomains)
}

func domainShow(c *cli.Context, s *mailuser.Store) error {
	d, err := s.Domain(c.Args().Get(0))
	return show(c, d, err, mailuser.PrintDomain)
}

func domainRemove(c *cli.Context, s *mailuser.Store) error {
	err := s.RemoveDomain(c.Args().Get(0), c.Bool("force"))
	if err == nil {
		fmt.Fprintf(c.App.Writer, "removed %s; mail that is there stays, mail that comes is refused\n", c.Args().Get(0))
	}
	return err
}

func userAdd(c *cli.Context, s *mailuser.Store) error {
	var k *login.Credential
	var password string
	if !c.Bool("no-credential") {
		var err error
		if k, password, err = credential(c, s, "main"); err != nil {
			return err
		}
	}
	a, err := s.AddUser(c.Args().Get(0), c.String("quota"), k)
	if a == nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "added %s; mail goes to %s\n", a.Address, a.Maildir)
	say(c, password)
	return err
}

func userList(c *cli.Context, s *mailuser.Store) error {
	list, err := s.Users(c.Args().Get(0))
	return show(c, list, err, mailuser.PrintAccounts)
}

func userShow(c *cli.Context, s *mailuser.Store) error {
	a, err := s.User(c.Args().Get(0))
	return show(c, a, err, mailuser.PrintAccount)
}

func userRemove(c *cli.Context, s *mailuser.Store) error {
	a, err := s.RemoveUser(c.Args().Get(0))
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "removed %s; its mail stays in %s\n", a.Address, a.Maildir)
	if len(a.Aliases) > 0 {
		fmt.Fprintf(c.App.Writer, "aliases that still lead to it: %s\n", strings.Join(a.Aliases, " "))
	}
	return nil
}

func credentialAdd(c *cli.Context, s *mailuser.Store) error {
	k, password, err := credential(c, s, c.Args().Get(1))
	if err != nil {
		return err
	}
	if err := s.AddCredential(c.Args().Get(0), k, c.Bool("replace")); err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "added credential %s of %s\n", k.Name, c.Args().Get(0))
	say(c, password)
	return nil
}

func credentialList(c *cli.Context, s *mailuser.Store) error {
	list, err := s.Credentials(c.Args().Get(0))
	return show(c, list, err, mailuser.PrintCredentials)
}

func credentialRemove(c *cli.Context, s *mailuser.Store) error {
	err := s.RemoveCredential(c.Args().Get(0), c.Args().Get(1))
	if err == nil {
		fmt.Fprintf(c.App.Writer, "removed credential %s of %s; it counts from now on\n", c.Args().Get(1), c.Args().Get(0))
	}
	return err
}

func aliasAdd(c *cli.Context, s *mailuser.Store) error {
	line, err := s.AddAlias(c.Args().Get(0), c.Args().Tail(), c.Bool("replace"))
	if err == nil {
		fmt.Fprintln(c.App.Writer, line)
	}
	return err
}

func aliasList(c *cli.Context, s *mailuser.Store) error {
	list, err := s.Aliases(c.Args().Get(0))
	return show(c, list, err, mailuser.PrintAliases)
}

func aliasRemove(c *cli.Context, s *mailuser.Store) error {
	err := s.RemoveAlias(c.Args().Get(0))
	if err == nil {
		fmt.Fprintf(c.App.Writer, "removed alias %s\n", c.Args().Get(0))
	}
	return err
}

// credential makes one of a new password, or of the one on standard input. A password is never an argument: ps shows those.
func credential(c *cli.Context, s *mailuser.Store, name string) (k *login.Credential, made string, err error) {
	password := mailuser.Password()
	made = password
	if c.Bool("stdin") {
		made = ""
		if password, err = readPassword(os.Stdin); err != nil {
			return nil, "", err
		}
	}
	k, err = s.NewCredential(c.Args().Get(0), name, password, mailuser.Limits{
		Scope: c.String("scope"), Expires: c.String("expires"), Networks: c.String("networks"), Note: c.String("note"),
		ActsFor: c.String("acts-for"), Approval: c.String("approval"),
	})
	return k, made, err
}

func say(c *cli.Context, password string) {
	if password != "" {
		fmt.Fprintf(c.App.Writer, "password: %s\n(it is shown this once; only a hash of it is kept)\n", password)
	}
}

// readPassword reads a line; a terminal does not show it.
func readPassword(f *os.File) (string, error) {
	fd := int(f.Fd())
	if old, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
		fmt.Fprint(os.Stderr, "password: ")
		quiet := *old
		quiet.Lflag &^= unix.ECHO
		if err := unix.IoctlSetTermios(fd, unix.TCSETS, &quiet); err != nil {
			return "", err
		}
		defer fmt.Fprintln(os.Stderr)
		defer unix.IoctlSetTermios(fd, unix.TCSETS, old)
	}
	line, err := bufio.NewReader(io.LimitReader(f, login.MaxPassword+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if line == "" {
		return "", errors.New("no password on standard input")
	}
	return line, nil
}
