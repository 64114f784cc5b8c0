package mailuser

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"pennypost/internal/config"
	"pennypost/internal/escape"
	"pennypost/login"
)

// PrintJSON writes v for programs.
func PrintJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table writes rows in columns; every word is made safe for a terminal.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = escape.Terminal(row[i])
		}
		fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	return t.Flush()
}

func or(list []string, nothing string) string {
	if len(list) == 0 {
		return nothing
	}
	return strings.Join(list, " ")
}

// PrintDomains writes a line for each domain.
func PrintDomains(w io.Writer, list []Domain) error {
	var rows [][]string
	for _, d := range list {
		if d.AliasOf != "" {
			rows = append(rows, []string{d.Name, "alias of " + d.AliasOf})
			continue
		}
		accounts := fmt.Sprintf("%d accounts", len(d.Users))
		if d.System {
			accounts = "users of this host"
		}
		rows = append(rows, []string{d.Name, accounts, fmt.Sprintf("%d aliases", len(d.Aliases))})
	}
	return table(w, rows)
}

// PrintDomain writes all of one domain.
func PrintDomain(w io.Writer, d Domain) error {
	rows := [][]string{{"domain", d.Name}, {"directory", d.Dir}}
	if d.AliasOf != "" {
		return table(w, append(rows, []string{"alias of", d.AliasOf}))
	}
	accounts := or(d.Users, "none")
	if d.System {
		accounts = "the users of this host; with files of their own here: " + accounts
	}
	rows = append(rows, []string{"accounts", accounts})
	for _, a := range d.Aliases {
		rows = append(rows, []string{"alias", a.Name + " to " + strings.Join(a.Targets, ", ")})
	}
	return table(w, rows)
}

// PrintAccounts writes a line for each account.
func PrintAccounts(w io.Writer, list []Account) error {
	var rows [][]string
	for _, a := range list {
		var names []string
		for _, k := range a.Credentials {
			names = append(names, k.Name)
		}
		rows = append(rows, []string{a.Address, quota(a), "credentials: " + or(names, "none")})
	}
	return table(w, rows)
}

func quota(a Account) string {
	if a.Quota == 0 && a.QuotaMessages == 0 {
		return "no quota"
	}
	return config.Quota{Octets: a.Quota, Messages: a.QuotaMessages}.String()
}

// PrintAccount writes all of one account.
func PrintAccount(w io.Writer, a Account) error {
	rows := [][]string{
		{"account", a.Address},
		{"directory", a.Dir},
		{"mail", a.Maildir + " (" + a.Layout + ")"},
		{"quota", quota(a)},
	}
	if len(a.DetailFolders) > 0 {
		rows = append(rows, []string{"detail folders", strings.Join(a.DetailFolders, ", ")})
	}
	for _, f := range a.Forward {
		rows = append(rows, []string{"forward", f})
	}
	if len(a.Aliases) > 0 {
		rows = append(rows, []string{"aliases", strings.Join(a.Aliases, " ")})
	}
	if len(a.Credentials) == 0 {
		rows = append(rows, []string{"credentials", "none: nobody can log in"})
	}
	for _, k := range a.Credentials {
		rows = append(rows, []string{"credential", k.line()})
	}
	return table(w, rows)
}

// PrintCredentials writes a line for each.
func PrintCredentials(w io.Writer, list []Credential) error {
	var rows [][]string
	for _, k := range list {
		rows = append(rows, []string{k.line()})
	}
	return table(w, rows)
}

func (k Credential) line() string {
	s := k.Name + "  for " + or(k.Scope, "everything") + "  from " + or(k.Networks, "everywhere")
	switch {
	case k.Expired:
		s += "  expired " + k.Expires
	case k.Expires != "":
		s += "  until " + k.Expires
	}
	if k.TOTP {
		s += "  with a code (TOTP)"
	}
	if len(k.ActsFor) > 0 {
		s += "  opens " + strings.Join(k.ActsFor, " ")
	}
	switch {
	case k.Imported && k.Weak != "":
		s += "  WEAK: imported with " + k.Weak + ", replaced at the next login"
	case k.Weak != "":
		s += "  weak hash in the file, not used any more: give it a new password"
	case k.Imported:
		s += "  imported, replaced at the next login"
	}
	if u := k.LastUse; u != nil {
		s += "  last used " + u.Time.UTC().Format(time.RFC3339) + " for " + u.Service + " from " + u.IP
	}
	for _, w := range k.Waiting {
		s += "  WAITS for approval from " + w.Network
	}
	if k.Note != "" {
		s += "  (" + k.Note + ")"
	}
	return s
}

// PrintAliases writes them as the file has them.
func PrintAliases(w io.Writer, list []Alias) error {
	for _, a := range list {
		if _, err := fmt.Fprintf(w, "%s: %s\n", escape.Terminal(a.Name), escape.Terminal(strings.Join(a.Targets, ", "))); err != nil {
			return err
		}
	}
	return nil
}

// PrintLogins writes a line for each.
func PrintLogins(w io.Writer, list []login.Login) error {
	what := map[string]string{"ok": "logged in", "no": "wrong password", "wait": "waits for approval"}
	var rows [][]string
	for _, l := range list {
		row := []string{l.Time.UTC().Format(time.RFC3339), what[l.What], l.Service, "from " + l.IP, l.Credential, l.Mechanism}
		if l.By != "" {
			row = append(row, "as "+l.By)
		}
		rows = append(rows, row)
	}
	return table(w, rows)
}
