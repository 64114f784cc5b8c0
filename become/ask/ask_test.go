package ask

import (
	"reflect"
	"testing"
)

func FuzzParse(f *testing.F) {
	f.Add("imapd 1000 1000,2000 alice /home/alice")
	f.Add("deliver-local 1000 1000 al%20ice /home/al%20ice")
	f.Fuzz(func(t *testing.T, line string) {
		r, err := Parse(line)
		if err != nil {
			return
		}
		again, err := Parse(r.String())
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Errorf("%q is %#v, and written as %q it is %#v, %v", line, r, r.String(), again, err)
		}
	})
}
