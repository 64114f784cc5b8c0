package msgauth

// Result is a word of RFC 8601 section 2.7.
type Result string

const (
	None      Result = "none"      // there is nothing to judge
	Pass      Result = "pass"      // it is who it says
	Fail      Result = "fail"      // it is not
	SoftFail  Result = "softfail"  // SPF: it is probably not
	Neutral   Result = "neutral"   // present, and worth nothing either way
	TempError Result = "temperror" // DNS did not answer: ask again later
	PermError Result = "permerror" // what somebody published or signed cannot be understood
)

// Record is one question put to DNS and what came back.
type Record struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Values []string `json:"values,omitempty"`
	Err    string   `json:"error,omitempty"`
}
