# shellcheck shell=sh
# A private place to build and to run servers in. Sourced by test/run and demo/run, with $top
# set to the project's directory:
#
#   sandbox_open MB       makes the temporary directory $work, where MB megabytes must be free; at exit, however
#                         it comes about, the processes that run in it are ended and it is removed (kept where KEEP=1).
#                         Where the machine lacks something it says so and what to do, and fails
#   sandbox_build VAR...  builds a copy of the project in $work/src, with these make variables, and
#                         installs it in a copy of PostgreSQL, whose programs are in $bindir
#   sandbox_build_weak    after that, builds a library whose safeguards can be switched off, into another copy of
#                         PostgreSQL, whose programs are in $weak_prefix/bin; in a folder of its own, and fails
#                         where that leaves something there or in $work/src
#   sandbox_wait CMD      runs a command so that a signal to this script ends it at once
#   sandbox_user CMD      runs a command as the user who may run a server: initdb refuses root; with the
#                         options of setpriv in $sandbox_capabilities, if any
#
# The installed PostgreSQL is only read: its programs find the libraries and the extensions'
# files relative to where they are themselves, so a copy of the tree is an installation.

: "${top:?}"
PG_CONFIG=${PG_CONFIG:-pg_config}

# sandbox_refuse MESSAGE LINE...: fails; the lines say what to do
sandbox_refuse() {
    echo "$1" >&2
    shift
    for line in "$@"; do echo "    $line" >&2; done
    return 1
}

# What a build and servers in $work need of the machine.
sandbox_check() {
    free=$(df -Pk "$work" | awk 'NR == 2 { print int($4 / 1024) }')
    test "$free" -ge "$1" ||
        sandbox_refuse "$TMPDIR has $free MB free, and up to $1 are needed" \
            "Make room there, or set TMPDIR to a directory that has it." || return
    printf '#!/bin/sh\n' >"$work/program" && chmod 755 "$work/program" || return
    "$work/program" 2>/dev/null ||
        sandbox_refuse "no program can be run in $TMPDIR" \
            "Set TMPDIR to a directory that is not mounted noexec." || return
    rm "$work/program"
    test -d /proc/self || sandbox_refuse "/proc is not mounted" "As root: mount -t proc proc /proc" || return
    sandbox_user true ||
        sandbox_refuse "root cannot run a program as $owner, and a server must not run as root" \
            "Try again as an ordinary user."
}

sandbox_open() {
    umask 022
    # What would lead the build or libpq elsewhere.
    for variable in $(env | sed -n 's/^\(PG[A-Z]*\)=.*/\1/p'); do unset "$variable"; done
    unset MAKEFLAGS MFLAGS MAKELEVEL GNUMAKEFLAGS DESTDIR
    # initdb takes the locale from here; PostgreSQL's Perl modules drop LC_ALL.
    for variable in $(env | sed -n 's/^\(LC_[A-Z]*\)=.*/\1/p'); do unset "$variable"; done
    export LANG=C.UTF-8
    # A socket's path has room for 107 bytes, and root's own directories are closed to others.
    TMPDIR=${TMPDIR:-/tmp}
    test "${#TMPDIR}" -le 40 && test "${TMPDIR#/root}" = "$TMPDIR" || TMPDIR=/tmp
    work=$(mktemp -d "$TMPDIR/mixpeek_docs.XXXXXX") ||
        sandbox_refuse "no directory can be made in $TMPDIR" \
            "Set TMPDIR to one that is yours to write to, with a path of at most 40 characters." || return
    trap sandbox_close EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    chmod 755 "$work"
    mkdir "$work/src" "$work/pg" "$work/home" "$work/tmp"
    owner=
    # The servers' superuser is named as the user; the tests have a role "nobody" of their own.
    test "$(id -u)" != 0 || owner=$(id -un postgres 2>/dev/null || id -un daemon 2>/dev/null || echo nobody)
    bindir=$("$PG_CONFIG" --bindir)
    sandbox_check "$1"
}

sandbox_processes() {
    find /proc -maxdepth 2 -path '/proc/[0-9]*/cwd' \( -lname "$work" -o -lname "$work/*" \) 2>/dev/null |
        sed 's/[^0-9]//g'
}

sandbox_close() {
    status=$?
    trap '' HUP INT TERM
    trap - EXIT
    cd /
    # QUIT is PostgreSQL's immediate shutdown; the others know TERM.
    signals="TERM QUIT"
    for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        pids=$(sandbox_processes)
        test -n "$pids" || break
        test "$try" -lt 15 || signals=KILL
        # shellcheck disable=SC2086 # a list of numbers
        for signal in $signals; do kill -s "$signal" $pids 2>/dev/null || :; done
        sleep 0.1
    done
    if test "${KEEP:-0}" = 1; then
        echo "kept: $work"
    else
        rm -rf "$work"
    fi
    exit "$status"
}

sandbox_wait() {
    "$@" &
    wait $!
}

sandbox_user() {
    if test -n "$owner"; then
        # shellcheck disable=SC2086 # options
        set -- setpriv --reuid="$owner" --regid="$(id -g "$owner")" --init-groups ${sandbox_capabilities:-} "$@"
    fi
    env HOME="$work/home" TMPDIR="$work/tmp" PATH="$bindir:$PATH" "$@"
}

# sandbox_logged CMD: what it says is only worth reading where it fails
sandbox_logged() {
    sandbox_wait "$@" >"$work/log" 2>&1 </dev/null || {
        cat "$work/log"
        echo "failed: $*"
        return 1
    } >&2
}

sandbox_build() {
    tar -C "$top" --exclude=./.git --exclude=node_modules -cf - . | tar -C "$work/src" --no-same-owner -xf - || return
    for option in --bindir --pkglibdir --sharedir; do
        dir=$("$PG_CONFIG" "$option")
        mkdir -p "$work/pg$dir"
        cp -R --preserve=mode,timestamps,links "$dir/." "$work/pg$dir" || return
    done
    bindir=$work/pg$("$PG_CONFIG" --bindir)
    # Bitcode would only make the build longer.
    set -- make -s -C "$work/src" -j"$(nproc)" PG_CONFIG="$PG_CONFIG" with_llvm=no "$@"
    # Nothing that an earlier build has left, with whatever options, may take part in this one.
    sandbox_logged "$@" clean || return
    sandbox_logged "$@" all || return
    sandbox_logged "$@" install DESTDIR="$work/pg" || return
    sandbox_logged make -s -C "$work/src/test/api" -j"$(nproc)" || return
    test -z "$owner" || chown -R "$owner:" "$work/src" "$work/home" "$work/tmp"
}

sandbox_build_weak() {
    mkdir "$work/weak" "$work/weak-build" || return
    touch "$work/weak-begun"
    # The files that stay the same are the same; install makes new ones.
    cp -R --link "$work/pg/." "$work/weak" || return
    weak_prefix=$work/weak$(dirname "$("$PG_CONFIG" --bindir)")
    set -- make -s -C "$work/weak-build" -f "$work/src/Makefile" -j"$(nproc)" PG_CONFIG="$PG_CONFIG" with_llvm=no WEAKEN=1
    sandbox_logged "$@" all || return
    sandbox_logged "$@" install DESTDIR="$work/weak" || return
    sandbox_logged "$@" clean || return
    stray=$(find "$work/weak-build" -mindepth 1 && find "$work/src" -newer "$work/weak-begun")
    test -z "$stray" || { echo "a build in a folder of its own has left or changed:" && echo "$stray"; } >&2
    test -z "$stray"
}
