# make build    the programs, into bin/
# make demo     builds them and runs two mail hosts on this machine until Ctrl-C
# make check    the quick loop: gofmt, vet, tests, man lint
# make test     everything: also the programs against each other, stock clients and other mail servers
# make help     this list and the rest of it

GO      ?= go
PREFIX  ?= /usr/local
MANDIR  ?= $(PREFIX)/share/man
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSCONFDIR ?= /etc
DESTDIR ?=
BIN     ?= bin
export CGO_ENABLED = 0
export GOFLAGS = -trimpath -tags=urfave_cli_no_docs

PACKAGES = ./...
PROGRAMS = $(notdir $(patsubst %/main.go,%,$(wildcard cmd/*/main.go)))
DEMO_ARGS ?=
SOAK_TIME ?= 30m
STRESS_TIME ?= 10m
DEB_VERSION ?= 0.1~$(shell git log -1 --format=%cd --date=format:%Y%m%d%H%M 2>/dev/null || echo 0)

.PHONY: all build check fmt vet lint test packages e2e demo bench bench-peers soak stress soak-free install install-files uninstall deb exposure clean help

all: build

build: ## the programs, into bin/
	$(GO) build -o bin/ ./cmd/...

demo: build ## two hosts with mail going round, until Ctrl-C; DEMO_ARGS="--base 20000" moves the ports
	bin/maildemo up $(DEMO_ARGS)

check: fmt vet lint ## the quick loop, under a minute
	$(GO) test -short $(PACKAGES)

fmt:
	@out=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); \
	if [ -n "$$out" ]; then echo "not formatted (gofmt -w):"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet $(PACKAGES)

lint: ## the manual pages
	@if ! command -v mandoc >/dev/null; then echo "man lint skipped: no mandoc on this machine"; \
	else mandoc -Tlint -Wwarning man/*.[1578] && echo "man pages: clean"; fi

packages: ## what the tests drive: clients installed, other mail servers unpacked beside the system
	@sh test/packages.sh

test: packages build fmt vet lint ## all tests; says what it skipped and why
	@status=0; export PENNYPOST_BIN=$(CURDIR)/bin; set -x; \
	$(GO) test -timeout 10m $$($(GO) list ./... | grep -v '/test') || status=1; \
	$(GO) test -count=1 -p 1 -timeout 10m -v ./test/... || status=1; \
	bin/maildemo check || status=1; \
	exit $$status

e2e: build ## only the programs against each other, clients and peers
	PENNYPOST_BIN=$(CURDIR)/bin $(GO) test -count=1 -p 1 -timeout 10m -v ./test/...

bench: ## Go benchmarks of the packages
	$(GO) test -short -run '^$$' -bench . -benchmem $(PACKAGES)

bench-peers: build packages ## Pennypost beside Postfix, its milters and Dovecot in turns on one disk; BENCH_ARGS="--reps 5 --loop"; see BENCHMARKS.md
	$(GO) run ./test/bench peers --bin bin $(BENCH_ARGS)
	$(GO) run ./test/bench boxes --bin bin $(BENCH_ARGS)
	$(GO) run ./test/bench milters --bin bin $(BENCH_ARGS)

soak: build ## half an hour of programs on one Maildir, kill -9 and deleted caches: nothing lost, nothing renumbered; SOAK_TIME=5m
	PENNYPOST_SOAK=$(SOAK_TIME) $(GO) test -count=1 -timeout 0 -run '^TestSoak$$' -v ./maildir/mailbox ./test/soak

stress: build ## 50 IMAP connections in three mailboxes that believe what they are told and check it, for ten minutes; STRESS_TIME=2m
	PENNYPOST_STRESS=$(STRESS_TIME) $(GO) test -count=1 -timeout 0 -run '^TestStress$$' -v ./test/soak

soak-free: build ## shows that a day of restarts and kill -9 leaves nothing behind: SOAK_ARGS="--minutes 30"
	$(GO) run ./test/bench soak --bin bin $(SOAK_ARGS)

install: build install-files ## PREFIX=/usr/local DESTDIR=; then mailsetup

# what the package has too: programs, pages, units, run scripts, examples
install-files:
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/share/pennypost $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSCONFDIR)/pam.d
	for p in $(filter-out maildemo,$(PROGRAMS)); do install -m 755 $(BIN)/$$p $(DESTDIR)$(PREFIX)/sbin/$$p || exit 1; done
	for s in 1 5 7 8; do for m in man/*.$$s; do [ -e $$m ] || continue; install -D -m 644 $$m $(DESTDIR)$(MANDIR)/man$$s/$${m#man/} || exit 1; done; done
	rm -f $(DESTDIR)$(MANDIR)/man1/maildemo.1
	install -m 644 etc/mail.toml etc/inetd.conf $(DESTDIR)$(PREFIX)/share/pennypost/
	install -m 755 etc/tcpserver $(DESTDIR)$(PREFIX)/share/pennypost/
	cp -R etc/runit $(DESTDIR)$(PREFIX)/share/pennypost/
	[ -e $(DESTDIR)$(SYSCONFDIR)/pam.d/pennypost ] || install -m 644 etc/pam.d/pennypost $(DESTDIR)$(SYSCONFDIR)/pam.d/pennypost
	cp -R etc/systemd/* $(DESTDIR)$(UNITDIR)/
	for u in $(DESTDIR)$(UNITDIR)/pennypost*.service; do sed -i 's|/usr/sbin/|$(PREFIX)/sbin/|' $$u || exit 1; done

uninstall:
	for p in $(PROGRAMS); do rm -f $(DESTDIR)$(PREFIX)/sbin/$$p; done
	for m in man/*.[1578]; do rm -f $(DESTDIR)$(MANDIR)/man$${m##*.}/$${m#man/}; done
	rm -rf $(DESTDIR)$(PREFIX)/share/pennypost $(DESTDIR)$(UNITDIR)/pennypost*

deb: ## a Debian package in build/, with dpkg-deb alone; DEB_VERSION=
	$(GO) build -buildvcs=false -ldflags='-s -w' -o build/bin/ ./cmd/...
	sh etc/debian/build.sh build/bin $(DEB_VERSION) build/pennypost_$(DEB_VERSION)_$$(dpkg --print-architecture).deb
	@ls -l build/*_$(DEB_VERSION)_*.deb

exposure: ## what systemd thinks of our units: pennypost-security(7)
	@$(GO) test -count=1 -v -run 'TestExposure' ./test/units | sed -n 's/^ *units_test.go:[0-9]*: //p'

clean:
	rm -rf bin build demo

help:
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 14
