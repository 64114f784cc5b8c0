package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// popSession fetches everything and leaves it there: USER, PASS, STAT, UIDL, RETR of each, QUIT.
func popSession(addr string, secure bool, user, password string) (messages int, err error) {
	conn, err := net.DialTimeout("tcp", addr, 20*time.Second)
	if err != nil {
		return 0, err
	}
	if secure {
		conn = tls.Client(conn, tlsClient)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(3 * time.Minute))
	r := bufio.NewReaderSize(conn, 64<<10)
	one := func(command string) (string, error) {
		if command != "" {
			if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
				return "", err
			}
		}
		line, err := r.ReadString('\n')
		if err == nil && !strings.HasPrefix(line, "+OK") {
			err = fmt.Errorf("%.4s: %s", command, line)
		}
		return line, err
	}
	many := func(command string) (lines int, err error) {
		if _, err := one(command); err != nil {
			return 0, err
		}
		for {
			line, err := r.ReadSlice('\n')
			if err != nil && err != bufio.ErrBufferFull {
				return lines, err
			}
			if bytes.Equal(line, []byte(".\r\n")) {
				return lines, nil
			}
			lines++
		}
	}
	for _, command := range []string{"", "USER " + user, "PASS " + password} {
		if _, err := one(command); err != nil {
			return 0, err
		}
	}
	stat, err := one("STAT")
	if err != nil {
		return 0, err
	}
	f := strings.Fields(stat)
	if messages, err = strconv.Atoi(f[1]); err != nil {
		return 0, err
	}
	if lines, err := many("UIDL"); err != nil || lines != messages {
		return 0, fmt.Errorf("UIDL has %d of %d: %w", lines, messages, err)
	}
	for i := range messages {
		if _, err := many("RETR " + strconv.Itoa(i+1)); err != nil {
			return 0, err
		}
	}
	_, err = one("QUIT")
	return messages, err
}
