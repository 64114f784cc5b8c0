package mailbox

import (
	"bytes"
	"testing"
	"time"

	"pennypost/internal/durable/faultdisk"
	"pennypost/internal/sequence"
)

// Whatever mb-uids holds: no panic, nothing out of range, and what is read comes back the same from a file we write.
func FuzzUIDs(f *testing.F) {
	var b batch
	b.header(1763781234, "F0123", 42, "77.1763781000")
	b.reserve(1280, 1849482000000000)
	b.message(17, &line{key: "1763781299.M12P9Q1.host,S=4821", saved: 1763781300, size: 4821, wire: 4930, more: "custom1 custom2"})
	b.message(18, &line{key: "odd\n \\name", size: -1, wire: -1, over: &override{guid: "abc", uidl: "0000aaaa"}})
	b.gone(tombstone{uids: sequence.Set{{Lo: 12, Hi: 15}, {Lo: 17, Hi: 17}}, modseq: 1849482000000417, time: 1763781400})
	whole := b.end(time.Unix(1763781400, 0))
	f.Add(whole)
	f.Add(whole[:len(whole)-5])
	f.Add(append(bytes.Clone(whole), "K a $Work\nF 7\nX 18 x\n4294967295 :x\n= -\n"...))
	f.Add([]byte("mb1 V1 Ix N1\n1 :a\n4294967294 :b\n-1:4294967294 m1\n= -\n"))
	f.Add([]byte("mb1 V1 Ix N1\n1 :a\n= -\nP 1:4294967294 +FS -a m9\n= -\nP 1,* +F - m1\np\n= -\n"))
	f.Add([]byte("mb1 V1 Ix N1\nR 4294967295 18446744073709551615\n-0,* m1 d-1\n= -\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		u, err := parseUIDs(text)
		if err != nil {
			return
		}
		if u.validity == 0 || u.size > int64(len(text)) || u.live[0] != nil {
			t.Fatalf("%+v", u)
		}
		for uid := range u.live {
			if uid >= u.next {
				t.Fatalf("UID %d is not below %d", uid, u.next)
			}
		}
		again, err := parseUIDs(u.rewrite(u.inode, time.Unix(1, 0)))
		if err != nil || again.torn || len(again.live) != len(u.live) || again.validity != u.validity || again.id != u.id || again.next < u.next {
			t.Fatalf("%v: %+v is read back as %+v", err, u, again)
		}
		if (again.vow == nil) != (u.vow == nil) || u.vow != nil && again.vow.uids.String() != u.vow.uids.String() {
			t.Fatalf("the promise %+v is read back as %+v", u.vow, again.vow)
		}
		for uid, l := range u.live {
			if k := again.live[uid]; k == nil || k.key != l.key {
				t.Fatalf("UID %d was %q", uid, l.key)
			}
		}
	})
}

// Whatever mb-index and mb-log hold: a snapshot or none, records or none, no panic and no memory that the file does not justify.
func FuzzIndex(f *testing.F) {
	c := &chunk{}
	c.add(&entry{uid: 1, key: "1.a", flags: Seen, modseq: 5, wire: -1, saved: 9})
	c.add(&entry{uid: 7, key: "2.b", state: irregular | inNew, info: ":1,x", over: &override{guid: "g"}})
	made := faultdisk.New()
	w, _ := made.Create("i", 0o600)
	if err := writeIndex(w, &head{validity: 1, id: "Fx", gen: 3, boot: "boot", letters: "a$Work\n", lost: []interval{{1, 2}}}, []*chunk{c}); err != nil {
		f.Fatal(err)
	}
	index, _ := readAll(made, "i")
	f.Add(index, []byte{})
	var log []byte
	for _, r := range []*record{
		{kind: recAdd, added: []entry{c.entry(0)}}, {kind: recFlags, flags: []entry{c.entry(1)}}, {kind: recGone, gone: []uint32{1, 7}}, {kind: recState}, {kind: recRotate},
	} {
		log = r.encode(log)
	}
	f.Add([]byte{}, log)
	f.Fuzz(func(t *testing.T, index, log []byte) {
		disk := faultdisk.New().Put("i", string(index)).Put("l", string(log))
		file, err := disk.Open("i")
		if err != nil {
			t.Fatal(err)
		}
		if s := openSnapshot(file); s != nil {
			for i, slot := range s.slots() {
				if c := slot.get(); c.len() != s.blocks[i].n {
					t.Fatalf("block %d has %d messages of %d", i, c.len(), s.blocks[i].n)
				}
			}
		}
		decodeChunk(index, 2)
		if file, err = disk.Open("l"); err != nil {
			t.Fatal(err)
		}
		lastTotals(file, int64(len(log)))
		for len(log) > 0 {
			r, n := decodeRecord(log)
			if r == nil {
				break
			}
			if n <= 0 || n > len(log) {
				t.Fatalf("a record of %d octets in %d", n, len(log))
			}
			log = log[n:]
		}
		(&Record{}).decode(index)
		(&Record{parts: index}).Parts()
	})
}

// Whatever the list of another server holds: UIDs within bounds, below the next one, and a file of ours that says the same.
func FuzzForeignLists(f *testing.F) {
	f.Add([]byte("3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n25006 W5000 P0000aaaa G1 S7 :1.kurkku,S=1355,W=1394:2,S\n25007 :2.b\n"))
	f.Add([]byte("1 1275660208 25022\n25006 1.kurkku,S=1355\n"))
	f.Add([]byte("2 1275660208 25022\n25006 :x\n4294967295 :y\n0 :z\n-1 :w\n"))
	f.Add([]byte("3 V0 N\n3 V1 N4294967295\n4294967294 :a\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, u := range []*uids{parseDovecot(text), parsePlainList(text)} {
			if u == nil {
				continue
			}
			for uid, l := range u.live {
				if uid == 0 || uid >= u.next || l.key == "" {
					t.Fatalf("UID %d, next %d, key %q", uid, u.next, l.key)
				}
			}
			u.id = "F1"
			again, err := parseUIDs(u.rewrite(1, time.Unix(1, 0)))
			if err != nil || len(again.live) != len(u.live) || again.validity != u.validity || again.torn {
				t.Fatalf("%v: %d messages of %d", err, len(again.live), len(u.live))
			}
			for uid, l := range u.live {
				if again.live[uid].key != l.key {
					t.Fatalf("UID %d was %q and is %q", uid, l.key, again.live[uid].key)
				}
			}
		}
	})
}
