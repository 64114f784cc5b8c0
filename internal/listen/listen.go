/*
Package listen gets a server its connections: one on fd 0 (inetd, systemd Accept=yes), listening sockets passed to it (LISTEN_FDS,
LISTEN_FDNAMES), or sockets it opens itself; and it counts them per source, together with the other processes of the service.

	open.go   where the sockets come from
	serve.go  the accept loop
	proxy.go  the PROXY header of load balancers
	count.go  how many may be open, and what is kept for whom when they are scarce
	table.go  the file in which all processes count: RUN/sources/PROGRAM/SERVICE
	rate.go   how often somebody may come
*/
package listen
