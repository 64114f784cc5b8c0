package dsn

import "testing"

// S046: the report on a message that came with REQUIRETLS goes the same way or none (RFC 8689 section 5).
func TestS046ReportKeepsREQUIRETLS(t *testing.T) {
	for params, want := range map[string]string{
		"REQUIRETLS":                        "REQUIRETLS",
		"BODY=8BITMIME requiretls RET=HDRS": "REQUIRETLS",
		"BODY=8BITMIME ENVID=REQUIRETLS":    "",
	} {
		env, _, err := newReport(letter, params, noSuchUser).compose()
		if err != nil || env.Mail != want {
			t.Errorf("%s: the report has %q, %v", params, env.Mail, err)
		}
	}
}
