// Goimap drives the client of go-imap v2 against a server: goimap PORT USER PASSWORD CA. It is a module of its own, so that ours needs none of it.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// must stops at the first thing that is not as it should be.
func must[T any](v T, err error) T {
	done(err)
	return v
}

func done(err error) {
	if err != nil {
		panic(err)
	}
}

func check(ok bool, format string, args ...any) {
	if !ok {
		panic(fmt.Sprintf(format, args...))
	}
}

const letter = "From: Ann <ann@elsewhere.test>\r\nTo: friends: bob@elsewhere.test, carol@elsewhere.test;\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?= %d\r\nMessage-ID: <%[1]d@elsewhere.test>\r\n%[2]s" +
	"Date: Tue, 01 Apr 2025 12:0%[1]d:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
	"--b\r\nContent-Type: text/plain\r\n\r\nbody %[1]d\r\n--b\r\nContent-Type: application/x-y\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n"

// news is what a client hears without having asked.
type news struct{ told chan string }

func (n *news) options(ca string) *imapclient.Options {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(must(os.ReadFile(ca)))
	return &imapclient.Options{TLSConfig: &tls.Config{RootCAs: pool, ServerName: "localhost"}, UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Expunge: func(n1 uint32) { n.told <- fmt.Sprintf("expunge %d", n1) },
		Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				n.told <- fmt.Sprintf("exists %d", *d.NumMessages)
			}
		},
		Fetch: func(m *imapclient.FetchMessageData) {
			b := must(m.Collect())
			n.told <- fmt.Sprintf("fetch %d %v", b.SeqNum, b.Flags)
		},
	}}
}

func (n *news) wait(text string) {
	late := time.After(10 * time.Second)
	for {
		select {
		case told := <-n.told:
			if strings.HasPrefix(told, text) {
				return
			}
		case <-late:
			panic("nothing is told of " + text)
		}
	}
}

func connect(args []string) (*imapclient.Client, *news) {
	n := &news{told: make(chan string, 100)}
	c := must(imapclient.DialTLS("localhost:"+args[0], n.options(args[3])))
	done(c.Login(args[1], args[2]).Wait())
	return c, n
}

func main() {
	args := os.Args[1:]
	c, heard := connect(args)
	other, _ := connect(args)
	caps := must(c.Capability().Wait())
	for _, want := range []imap.Cap{imap.CapIMAP4rev2, imap.CapIdle, imap.CapMove, imap.CapESearch, imap.CapCondStore, imap.CapQResync, imap.CapSort, imap.CapMetadata, imap.CapACL} {
		check(caps.Has(want), "no %s", want)
	}
	id := must(c.ID(&imap.IDData{Name: "goimap"}).Wait())
	check(id.Name == "Pennypost", "ID %+v", id)
	space := must(c.Namespace().Wait())
	check(len(space.Personal) == 1 && space.Personal[0].Delim == '/', "NAMESPACE %+v", space)
	mailboxes(c)
	messages(c)
	searches(c)
	changes(c)
	together(c, heard, other)
	annotations(c)
	done(c.Logout().Wait())
	done(other.Logout().Wait())
}

func mailboxes(c *imapclient.Client) {
	done(c.Create("Flüge", nil).Wait())
	done(c.Create("Old", &imap.CreateOptions{SpecialUse: []imap.MailboxAttr{imap.MailboxAttrArchive}}).Wait())
	done(c.Subscribe("Flüge").Wait())
	list := must(c.List("", "*", &imap.ListOptions{ReturnSubscribed: true, ReturnSpecialUse: true, ReturnStatus: &imap.StatusOptions{NumMessages: true, UIDNext: true, Size: true}}).Collect())
	at := slices.IndexFunc(list, func(d *imap.ListData) bool { return d.Mailbox == "Flüge" })
	check(at >= 0 && slices.Contains(list[at].Attrs, imap.MailboxAttrSubscribed) && list[at].Status != nil && *list[at].Status.NumMessages == 0, "LIST %+v", list)
	check(slices.ContainsFunc(list, func(d *imap.ListData) bool {
		return d.Mailbox == "Old" && slices.Contains(d.Attrs, imap.MailboxAttrArchive)
	}), "Old is no archive")
	done(c.Rename("Old", "Older", nil).Wait())
	done(c.Delete("Older").Wait())
	done(c.Unsubscribe("Flüge").Wait())
}

func add(c *imapclient.Client, mailbox string, n int, refs string, flags ...imap.Flag) imap.UID {
	text := fmt.Sprintf(letter, n, refs)
	cmd := c.Append(mailbox, int64(len(text)), &imap.AppendOptions{Flags: flags, Time: time.Date(2025, 4, n, 0, 0, 0, 0, time.UTC)})
	must(cmd.Write([]byte(text)))
	done(cmd.Close())
	return must(cmd.Wait()).UID
}

func messages(c *imapclient.Client) {
	for n := 1; n <= 4; n++ {
		refs := ""
		if n > 1 {
			refs = "References: <1@elsewhere.test>\r\n"
		}
		check(add(c, "Flüge", n, refs, imap.FlagFlagged, "$Label1") == imap.UID(n), "APPENDUID")
	}
	box := must(c.Select("Flüge", &imap.SelectOptions{CondStore: true}).Wait())
	check(box.NumMessages == 4 && box.UIDNext == 5 && box.UIDValidity > 0 && box.HighestModSeq > 0, "SELECT %+v", box)
	check(slices.Contains(box.PermanentFlags, imap.FlagWildcard), "PERMANENTFLAGS %v", box.PermanentFlags)
	whole, text := &imap.FetchItemBodySection{}, &imap.FetchItemBodySection{Part: []int{1}, Peek: true, Partial: &imap.SectionPartial{Offset: 0, Size: 4}}
	head := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"Subject"}, Peek: true}
	data := &imap.FetchItemBinarySection{Part: []int{2}, Peek: true}
	got := must(c.Fetch(imap.UIDSetNum(2), &imap.FetchOptions{UID: true, Flags: true, Envelope: true, InternalDate: true, RFC822Size: true, ModSeq: true,
		BodyStructure: &imap.FetchItemBodyStructure{Extended: true}, BodySection: []*imap.FetchItemBodySection{whole, text, head},
		BinarySection: []*imap.FetchItemBinarySection{data}, BinarySectionSize: []*imap.FetchItemBinarySectionSize{{Part: []int{2}}}}).Collect())
	check(len(got) == 1, "%d messages", len(got))
	m := got[0]
	want := fmt.Sprintf(letter, 2, "References: <1@elsewhere.test>\r\n")
	check(string(m.FindBodySection(whole)) == want, "BODY[] %q", m.FindBodySection(whole))
	check(m.RFC822Size == int64(len(want)) && m.ModSeq > 0 && m.UID == 2 && m.SeqNum == 2, "%+v", m)
	check(string(m.FindBodySection(text)) == "body", "BODY[1]<0.4> %q", m.FindBodySection(text))
	check(strings.HasPrefix(string(m.FindBodySection(head)), "Subject: "), "fields %q", m.FindBodySection(head))
	check(string(m.FindBinarySection(data)) == "hello" && m.BinarySectionSize[0].Size == 5, "BINARY[2] %q", m.FindBinarySection(data))
	check(m.Envelope.Subject == "grüße 2" && m.Envelope.From[0].Addr() == "ann@elsewhere.test" && len(m.Envelope.To) == 4 && m.Envelope.To[0].IsGroupStart(), "ENVELOPE %+v", m.Envelope)
	check(m.BodyStructure.MediaType() == "multipart/mixed" && m.InternalDate.Day() == 2, "BODYSTRUCTURE %+v", m.BodyStructure)
	check(slices.Contains(m.Flags, imap.FlagSeen), "reading does not set \\Seen: %v", m.Flags)
}

func searches(c *imapclient.Client) {
	criteria := &imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: "GRÜßE"}}}
	d := must(c.UIDSearch(criteria, &imap.SearchOptions{ReturnMin: true, ReturnMax: true, ReturnAll: true, ReturnCount: true}).Wait())
	check(d.Min == 1 && d.Max == 4 && d.Count == 4 && d.All.String() == "1:4", "ESEARCH %+v", d)
	d = must(c.Search(&imap.SearchCriteria{Body: []string{"body 3"}, NotFlag: []imap.Flag{imap.FlagDeleted}, Or: [][2]imap.SearchCriteria{{{Larger: 10}, {Flag: []imap.Flag{"$Label1"}}}}}, nil).Wait())
	check(fmt.Sprint(d.AllSeqNums()) == "[3]", "SEARCH %v", d.AllSeqNums())
	order := must(c.UIDSort(&imapclient.SortOptions{SearchCriteria: &imap.SearchCriteria{}, SortCriteria: []imapclient.SortCriterion{{Key: imapclient.SortKeyDate, Reverse: true}}}).Wait())
	check(fmt.Sprint(order) == "[4 3 2 1]", "SORT %v", order)
	threads := must(c.UIDThread(&imapclient.ThreadOptions{Algorithm: imap.ThreadReferences, SearchCriteria: &imap.SearchCriteria{}}).Wait())
	check(len(threads) == 1 && len(threads[0].SubThreads) == 3, "THREAD %+v", threads)
}

func changes(c *imapclient.Client) {
	before := must(c.Fetch(imap.UIDSetNum(1), &imap.FetchOptions{ModSeq: true}).Collect())[0].ModSeq
	got := must(c.Store(imap.UIDSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagAnswered}}, &imap.StoreOptions{UnchangedSince: before}).Collect())
	check(len(got) == 1 && got[0].ModSeq > before && slices.Contains(got[0].Flags, imap.FlagAnswered), "STORE %+v", got)
	got = must(c.Fetch(imap.UIDSet{imap.UIDRange{Start: 1, Stop: 0}}, &imap.FetchOptions{Flags: true, ChangedSince: before}).Collect())
	check(len(got) >= 1 && got[0].UID == 1, "CHANGEDSINCE %+v", got)
	moved := must(c.Move(imap.UIDSetNum(2), "Archive").Wait())
	check(fmt.Sprint(moved.SourceUIDs) == "2" && fmt.Sprint(moved.DestUIDs) == "1", "MOVE %+v", moved)
	copied := must(c.Copy(imap.UIDSetNum(1, 3), "Archive").Wait())
	check(copied.SourceUIDs.String() == "1,3" && copied.DestUIDs.String() == "2:3", "COPY %+v", copied)
	done(c.Store(imap.UIDSetNum(3, 4), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	gone := must(c.UIDExpunge(imap.UIDSetNum(3)).Collect())
	check(fmt.Sprint(gone) == "[2]", "UID EXPUNGE %v", gone)
	status := must(c.Status("Flüge", &imap.StatusOptions{NumMessages: true, NumUnseen: true, NumDeleted: true, Size: true, HighestModSeq: true}).Wait())
	check(*status.NumMessages == 2 && *status.NumDeleted == 1 && *status.Size > 0 && status.HighestModSeq > before, "STATUS %+v", status)
	done(c.UnselectAndExpunge().Wait())
	check(*must(c.Status("Flüge", &imap.StatusOptions{NumMessages: true}).Wait()).NumMessages == 1, "CLOSE expunges")
}

// together: what one does the other hears in IDLE.
func together(c *imapclient.Client, heard *news, other *imapclient.Client) {
	must(c.Select("Flüge", nil).Wait())
	must(other.Select("Flüge", nil).Wait())
	idle := must(c.Idle())
	add(other, "Flüge", 5, "")
	heard.wait("exists 2")
	done(other.Store(imap.SeqSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	heard.wait("fetch 1 ")
	must(other.Expunge().Collect())
	heard.wait("expunge 1")
	done(idle.Close())
	done(idle.Wait())
	must(other.Enable(imap.CapIMAP4rev2).Wait())
	box := must(other.Select("Flüge", nil).Wait())
	check(box.List != nil && box.List.Mailbox == "Flüge" && box.NumMessages == 1, "SELECT with IMAP4rev2 %+v", box)
	check(must(other.Search(&imap.SearchCriteria{}, nil).Wait()).All.String() == "1", "SEARCH with IMAP4rev2")
}

func annotations(c *imapclient.Client) {
	value := []byte("mine")
	done(c.SetMetadata("Flüge", map[string]*[]byte{"/private/comment": &value}).Wait())
	data := must(c.GetMetadata("Flüge", []string{"/private/comment"}, nil).Wait())
	check(data.Entries["/private/comment"] != nil && string(*data.Entries["/private/comment"]) == "mine", "METADATA %+v", data)
	rights := must(c.MyRights("Flüge").Wait())
	check(strings.Contains(rights.Rights.String(), "lrswi"), "MYRIGHTS %+v", rights)
	must(c.GetQuotaRoot("Flüge").Wait())
	done(c.Delete("Flüge").Wait())
}
