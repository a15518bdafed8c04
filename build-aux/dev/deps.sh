# deps.sh: the Debian packages that usher is built, run and checked with, and how `dev` installs those that are missing.
#
# Sourced by dev. Installing neither starts nor changes a service of this system: maintainer scripts are forbidden to
# start anything (policy-rc.d), no PostgreSQL cluster is created, nginx's own service is left disabled, and nothing that is
# installed is removed.

# package  for (build, run, check, bench)  why
deps_table() {
    cat <<'TABLE'
autoconf          build  makes configure
automake          build  makes Makefile.in
make              build  runs the build
gcc               build  the compiler
libc6-dev         build  the C library's headers
pkg-config        build  finds the libraries
libfcgi-dev       build  FastCGI
libpq-dev         build  PostgreSQL's client library
libhiredis-dev    build  Redis' client library
libjson-c-dev     build  JSON
libssl-dev        build  signatures
postgresql-15     run    the database, as a private server
redis-tools       run    Redis, as a private server, and redis-cli
nginx             run    the web server, as a private server
curl              run    asks the stack whether it is ready
clang             check  the second compiler that must have no warnings
clang-format      check  looks whether the code is laid out as .clang-format says
libclang-rt-14-dev check clang's sanitizers and fuzzer
libcriterion-dev  check  unit tests
perl              check  prove and the tests' harness
mandoc            check  reads the manual pages
openssl           check  keys for the identity tests
systemd           check  systemd-analyze, for the units' tests
spin              check  checks the models of t/model
slowhttptest      check  slow clients for the security tests
procps            check  /bin/kill, which usher.service calls
wrk               bench  the load
cppcheck          analyze  the second reader of check --analyze
TABLE
}

# deps_missing KIND...: the packages of these kinds that are not installed, with the reason, one a line.
deps_missing() {
    deps_installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' 2>/dev/null | sed -n 's/ installed$//p')
    deps_table | while read -r package kind why; do
        case " $* " in *" $kind "*) ;; *) continue ;; esac
        if ! printf '%s\n' "$deps_installed" | grep -qx "$package"; then
            printf '%s %s\n' "$package" "$why"
        fi
    done
}

# deps_need KIND...: returns when the packages are there; installs them as root, otherwise says how and exits.
deps_need() {
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
        die "this is not Debian: dev installs what it needs with apt-get. Needed are, in Debian's names:" \
            "$(deps_table | awk '{ printf "%s ", $1 }')"
    missing=$(deps_missing "$@")
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        complain "These Debian packages are missing:"
        printf '%s\n' "$missing" | awk '{ p = $1; $1 = ""; printf "  %-18s%s\n", p, $0 }' >&2
        die "Install them with:  sudo ./dev deps     (as root without sudo: ./dev deps)"
    fi
    say "Installing what is missing:"
    printf '%s\n' "$missing" | awk '{ p = $1; $1 = ""; printf "  %-18s%s\n", p, $0 }'
    # In a subshell, so that its traps restore the system whatever ends it.
    (deps_install $(printf '%s\n' "$missing" | awk '{ print $1 }')) || exit 1
    missing=$(deps_missing "$@")
    [ -z "$missing" ] || die "apt-get ended well, but this is still missing: $missing"
}

POLICY=/usr/sbin/policy-rc.d
CLUSTERS=/etc/postgresql-common/createcluster.d

# Runs in a subshell: holds a lock, since the system's files that it sets aside are one for all.
deps_install() {
    mkdir -p /run/lock
    exec 8>/run/lock/usher-dev-deps
    flock 8 || die "cannot lock /run/lock/usher-dev-deps"
    deps_restore # what a run that was killed may have left
    trap deps_restore EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    deps_forbid_services
    deps_forbid_clusters
    nginx_was_here=$(dpkg-query -W -f='${db:Status-Status}' nginx-common 2>/dev/null)
    deps_apt "$@" || exit 1
    # Debian enables the services that it installs: nginx would come up on port 80 at the next boot.
    if [ "$nginx_was_here" != installed ] && [ -e /etc/init.d/nginx ]; then
        update-rc.d nginx disable >/dev/null 2>&1 || true
        say "nginx' own service stays disabled (for your own use of it: systemctl enable --now nginx)."
    fi
}

# A policy that forbids to start nginx and postgresql already (as in many containers) is left alone.
deps_forbid_services() {
    if [ -x "$POLICY" ] && { "$POLICY" nginx start >/dev/null 2>&1; [ $? -eq 101 ]; } &&
        { "$POLICY" postgresql start >/dev/null 2>&1; [ $? -eq 101 ]; }; then
        return
    fi
    if [ -e "$POLICY" ] || [ -L "$POLICY" ]; then
        mv "$POLICY" "$POLICY.usher-saved"
    fi
    printf '%s\n' '#!/bin/sh' '# usher-dev: for the time of one apt-get; starts nothing' 'exit 101' >"$POLICY"
    chmod 755 "$POLICY"
}

# postgresql-15 would make a cluster "main"; postgresql-common reads this folder before.
deps_forbid_clusters() {
    mkdir -p "$CLUSTERS"
    echo 'create_main_cluster = false' >"$CLUSTERS/usher-dev.conf"
}

deps_restore() {
    if grep -qs '^# usher-dev:' "$POLICY"; then
        rm -f "$POLICY"
    fi
    if [ -e "$POLICY.usher-saved" ] || [ -L "$POLICY.usher-saved" ]; then
        mv "$POLICY.usher-saved" "$POLICY"
    fi
    rm -f "$CLUSTERS/usher-dev.conf"
    rmdir "$CLUSTERS" /etc/postgresql-common 2>/dev/null || true # only where they were made for this
}

# apt-get install, with a fresh list of packages only where there is none or the first try fails.
deps_apt() {
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    log=$(mktemp) || exit 1
    if ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 && deps_apt_install "$@"; then
        rm -f "$log"
        return 0
    fi
    say "  fetching the list of packages ..."
    if apt-get -o DPkg::Lock::Timeout=600 update >"$log" 2>&1 && deps_apt_install "$@"; then
        rm -f "$log"
        return 0
    fi
    tail -n 30 "$log" >&2
    complain "apt-get failed; its whole output is in $log"
    return 1
}

deps_apt_install() {
    say "  apt-get install ..."
    apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends --no-remove \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" >"$log" 2>&1 </dev/null
}
