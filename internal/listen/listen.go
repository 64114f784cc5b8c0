/*
Package listen gets a server its connections: one on fd 0 (inetd, systemd Accept=yes), listening sockets passed to it (LISTEN_FDS,
LISTEN_FDNAMES), or sockets it opens itself; and it counts them per source.

	open.go   where the sockets come from
	serve.go  the accept loop
	count.go  how many may be open
*/
package listen
