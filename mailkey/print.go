package mailkey

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// PrintZone writes records as a zone file, each with its reason above it.
func PrintZone(w io.Writer, list []Record) error {
	b := bufio.NewWriter(w)
	for i, r := range list {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(b, "; %s: %s\n; without it: %s\n", r.Level, r.Why, r.Without)
		fmt.Fprintf(b, "%s.\t3600\tIN\t%s\t%s\n", r.Name, r.Type, zoneValue(r))
	}
	return b.Flush()
}

// zoneValue is the value in the syntax of RFC 1035 section 5.1: names end in a dot, texts are strings of at most 255 octets.
func zoneValue(r Record) string {
	switch r.Type {
	case "TXT":
		return ZoneText(r.Value)
	case "MX", "SRV", "CNAME", "PTR":
		return strings.TrimSuffix(r.Value, ".") + "."
	}
	return r.Value
}

// ZoneText is a text as strings of at most 255 octets in quotes.
func ZoneText(text string) string {
	var pieces []string
	for len(text) > 255 {
		pieces = append(pieces, quote(text[:255]))
		text = text[255:]
	}
	return strings.Join(append(pieces, quote(text)), " ")
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// PrintLines writes name, type, value, level, why and what breaks without, with tabs between, one record a line: the first three are
// what the panel of a DNS provider asks for.
func PrintLines(w io.Writer, list []Record) error {
	b := bufio.NewWriter(w)
	for _, r := range list {
		fmt.Fprintf(b, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.Type, r.Value, r.Level, r.Why, r.Without)
	}
	return b.Flush()
}

// PrintJSON writes any list as JSON.
func PrintJSON(w io.Writer, list any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(list)
}
