package sequence

import "testing"

func TestSets(t *testing.T) {
	for _, test := range []struct {
		text    string
		largest uint32
		want    string
	}{
		{"1:3,5", 9, "1:3,5"},
		{"4:2", 9, "2:4"}, // section 9, seq-range
		{"9:*", 3, "3:9"}, // holds the last message, whatever it is
		{"*", 0, ""},      // of an empty mailbox
		{"*:1", 5, "1:5"},
		{"1,2,3,2:4", 9, "1:4"},
		{"4294967295:*", 7, "7:4294967295"}, // S096
	} {
		s, ok := Parse([]byte(test.text))
		if !ok || s.Resolve(test.largest).String() != test.want {
			t.Errorf("%s of %d: %s", test.text, test.largest, s.Resolve(test.largest))
		}
	}
	for _, bad := range []string{"", "0", "1:", ":1", "1,", ",1", "1:2:3", "4294967296", "x", "1 2"} {
		if s, ok := Parse([]byte(bad)); ok {
			t.Errorf("%q is no set, got %v", bad, s)
		}
	}
	var s Set
	for _, n := range []uint32{1, 2, 5, 4, 3, 9, 1} {
		s.Add(n)
	}
	if s.String() != "1:5,9" || s.Count() != 6 || !s.Has(4) || s.Has(6) || !s.Has(9) {
		t.Error(s)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("1:3,*,5"), uint32(10))
	f.Fuzz(func(t *testing.T, text []byte, largest uint32) {
		s, ok := Parse(text)
		if !ok {
			return
		}
		if again, ok := Parse(s.Append(nil)); !ok || again.String() != s.String() {
			t.Fatalf("%q becomes %q", text, s)
		}
		r := s.Resolve(largest)
		for i := 1; i < len(r); i++ {
			if uint64(r[i-1].Hi)+1 >= uint64(r[i].Lo) {
				t.Fatalf("%q resolved to %v", text, r)
			}
		}
	})
}
