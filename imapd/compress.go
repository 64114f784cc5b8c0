package imapd

import (
	"compress/flate"
	"net"
	"sync"

	"pennypost/imapd/inflate"
)

var compressVerbs = []verb{{"COMPRESS", loggedIn, (*session).compress, nothing, false}}

// compress is RFC 4978: after the answer both directions are DEFLATE.
func (s *session) compress(c *command) reply {
	c.SP()
	mechanism := c.Keyword("a mechanism")
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	if _, on := s.conn.(*compressed); on {
		return no("COMPRESSIONACTIVE", "it is on already")
	}
	if mechanism != "DEFLATE" {
		return no("CANNOT", "we have DEFLATE only")
	}
	if s.reader.Buffered() > 0 { // what follows is compressed or it is not: nobody can say
		s.ended = "something came before the answer to COMPRESS"
		return bad("nothing may follow COMPRESS")
	}
	s.tagged(c.tag, ok("from here on"))
	s.flush()
	s.conn = &compressed{Conn: s.conn, in: inflate.NewReader(s.conn)}
	s.newReader(s.conn)
	return reply{} // said already
}

// compressed is a connection inside DEFLATE. A deflater remembers over half a megabyte, so none is kept between two writes: each begins
// without a memory, and ends with a flush.
type compressed struct {
	net.Conn
	in *inflate.Reader
}

func (c *compressed) Read(b []byte) (int, error) { return c.in.Read(b) }

var deflaters = sync.Pool{New: func() any {
	w, _ := flate.NewWriter(nil, flate.BestSpeed)
	return w
}}

func (c *compressed) Write(b []byte) (int, error) {
	w := deflaters.Get().(*flate.Writer)
	defer func() {
		w.Reset(nil)
		deflaters.Put(w)
	}()
	w.Reset(c.Conn)
	n, err := w.Write(b)
	if err == nil {
		err = w.Flush()
	}
	return n, err
}
