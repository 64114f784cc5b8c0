package sts

import "strings"

// ID is the id of the one TXT record that says v=STSv1 (RFC 8461 section 3.1). No record, several, or one that is wrong all mean
// that there is no policy.
func ID(texts []string) (id string, ok bool) {
	found := ""
	for _, text := range texts {
		rest, is := strings.CutPrefix(text, "v=STSv1")
		if !is || strings.TrimLeft(rest, " \t") != "" && strings.TrimLeft(rest, " \t")[0] != ';' {
			continue // another version, or no record of ours at all
		}
		if found != "" {
			return "", false
		}
		found = text
	}
	for field := range strings.SplitSeq(found, ";") {
		key, value, _ := strings.Cut(strings.Trim(field, " \t"), "=")
		if key == "id" && id == "" {
			id = value
		}
	}
	return id, validID(id)
}

// validID is 1*32(ALPHA / DIGIT).
func validID(id string) bool {
	if id == "" || len(id) > 32 {
		return false
	}
	for i := range len(id) {
		if c := id[i] | 0x20; (c < 'a' || c > 'z') && (id[i] < '0' || id[i] > '9') {
			return false
		}
	}
	return true
}
