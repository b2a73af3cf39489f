#!/usr/bin/env bash
# mailmill beside what people use, on the same generated mails: mu, notmuch, Dovecot (doveadm import into mdbox), Python's mailbox
# module with SQLite. In turn, each with a fresh store, from the start of the program to its end; the median counts. The peers keep
# their source, as `mailmill import` does; `mailmill run` also removes every file. Nobody's durability is switched off.
#   SMALL=20000 MIXED=3000 RUNS=3 DIR=/tmp MAILMILL=target/release/mailmill benches/peers.sh
# Installs what is missing from Debian, leaves no service behind, and works in a folder of its own. No network besides apt.
set -euo pipefail
cd "$(dirname "$0")/.."
small=${SMALL:-20000} mixed=${MIXED:-3000} runs=${RUNS:-3}
mailmill=$(realpath "${MAILMILL:-${CARGO_TARGET_DIR:-target}/release/mailmill}")
[ -x "$mailmill" ] || { echo "no $mailmill: run make build first" >&2; exit 1; }

# ---- what is missing ---------------------------------------------------------------------------------------------------------

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

install_missing() {
    local missing=() policy=/usr/sbin/policy-rc.d made=
    command -v mu >/dev/null || missing+=(maildir-utils)
    command -v notmuch >/dev/null || missing+=(notmuch)
    command -v doveadm >/dev/null || missing+=(dovecot-core)
    command -v python3 >/dev/null && python3 -c 'import sqlite3' 2>/dev/null || missing+=(python3)
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || { echo "please install: ${missing[*]}" >&2; exit 1; }
    echo "installing ${missing[*]}" >&2
    # Packages may start their services at once; this is Debian's way to forbid it.
    if [ ! -e "$policy" ]; then
        made=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    as_root apt-get update -qq
    local status=0
    DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || status=$?
    [ -z "$made" ] || as_root rm -f "$policy"
    # Nor at the next start of the machine.
    case " ${missing[*]} " in *" dovecot-core "*) as_root systemctl disable --quiet dovecot.service dovecot.socket 2>/dev/null || true ;; esac
    return "$status"
}

install_missing
# Found now: what stands in for it may depend on $HOME.
python=$(python3 -c 'import sys; print(sys.executable)')
case "$(dovecot --version)" in
    2.3.*) ;;
    *) echo "benches/peers.sh knows the configuration of Dovecot 2.3 only, this is $(dovecot --version)" >&2; exit 1 ;;
esac

# ---- mail --------------------------------------------------------------------------------------------------------------------

parent=$(realpath "${DIR:-${TMPDIR:-/tmp}}")
work=$(mktemp -d "$parent/mailmill-peers.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work"
export HOME=$work XDG_CONFIG_HOME=$work XDG_CACHE_HOME=$work LC_ALL=C.UTF-8
unset MAILMILL_CONFIG MAILDIR NOTMUCH_CONFIG NOTMUCH_DATABASE NOTMUCH_PROFILE

# Dovecot handles no mail as root: then it works as nobody, who must reach its folder.
owner=$(id -un) group=$(id -gn)
[ "$(id -u)" != 0 ] || { owner=nobody group=$(id -gn nobody); }
chmod 711 "$work"

cat >python.py <<'PY'
"""What one writes first: a Maildir into SQLite, decoded, attachments and all; so many mails a commit."""
import email.header, mailbox, sqlite3, sys

def words(value):
    return str(email.header.make_header(email.header.decode_header(str(value)))) if value is not None else None

source, target, every = sys.argv[1:]
database = sqlite3.connect(target)
database.execute("pragma journal_mode = wal")
database.execute("create table mails (id integer primary key, message_id text, sender text, recipients text, date text, subject text, body text)")
database.execute("create table attachments (mail integer, name text, type text, bytes blob)")
database.execute("create index by_message_id on mails (message_id)")
for count, mail in enumerate(mailbox.Maildir(source, create=False), 1):
    body, files = None, []
    for part in mail.walk():
        if part.is_multipart():
            continue
        content = part.get_payload(decode=True) or b""
        if part.get_filename() is None and part.get_content_type() == "text/plain" and body is None:
            body = content.decode(part.get_content_charset() or "utf-8", "replace")
        elif part.get_filename() is not None or part.get_content_maintype() != "text":
            files.append((count, words(part.get_filename()), part.get_content_type(), content))
    fields = [mail["message-id"]] + [words(mail[name]) for name in ("from", "to")] + [mail["date"], words(mail["subject"]), body]
    database.execute("insert into mails values (?, ?, ?, ?, ?, ?, ?)", [count] + fields)
    database.executemany("insert into attachments values (?, ?, ?, ?)", files)
    if count % int(every) == 0:
        database.commit()
database.commit()
database.close()
PY

# ---- tools: each prepares a fresh store, then does the work that is timed, then says how many mails it has -----------------------

# python1 makes each mail durable on its own, as a program does that is called for each mail.
tools=(import run mu notmuch dovecot python1000 python1)

title() {
    case $1 in
        import) echo "mailmill import" ;;
        run) echo "mailmill run" ;;
        mu) echo "mu index ($(mu --version | sed -n '1s/.* //p'))" ;;
        notmuch) echo "notmuch new ($(notmuch --version | cut -d' ' -f2))" ;;
        dovecot) echo "doveadm import, mdbox ($(dovecot --version | cut -d' ' -f1))" ;;
        python*) echo "mailbox + SQLite, commit of ${1#python} (Python $("$python" -c 'import platform; print(platform.python_version())'))" ;;
    esac
}

prepare() {
    rm -rf store && mkdir store
    case $1 in
        import | run)
            "$mailmill" --quiet init store/server
            "$mailmill" --quiet --config store/server/mailmill.toml list create bench --kind announcements --address list0 senders=any
            [ "$1" = import ] || cp maildir/cur/* store/server/drop/
            ;;
        mu) mu init --quiet --muhome="$work/store/mu" --maildir="$work/maildir" >/dev/null ;;
        notmuch)
            export NOTMUCH_CONFIG=$work/store/notmuch-config
            mkdir store/notmuch
            printf '%s\n' '[database]' "path=$work/store/notmuch" "mail_root=$work/maildir" '[user]' 'name=bench' \
                'primary_email=bench@localhost' '[new]' 'tags=new' '[maildir]' 'synchronize_flags=false' >"$NOTMUCH_CONFIG"
            ;;
        dovecot)
            mkdir store/run store/state store/home
            printf '%s\n' "base_dir = $work/store/run" "state_dir = $work/store/state" "log_path = /dev/stderr" "protocols =" \
                "mail_home = $work/store/home" "mail_location = mdbox:$work/store/home/mdbox" \
                "mail_uid = $owner" "mail_gid = $group" "first_valid_uid = 1" "first_valid_gid = 1" >store/dovecot.conf
            [ "$(id -u)" != 0 ] || chown "$owner:$group" store/* maildir maildir/cur maildir/new maildir/tmp
            ;;
    esac
}

perform() {
    case $1 in
        import) "$mailmill" --config store/server/mailmill.toml import maildir --list bench --json >store/answer ;;
        run) "$mailmill" --config store/server/mailmill.toml run --json >store/answer ;;
        mu) mu index --quiet --muhome="$work/store/mu" >/dev/null ;;
        notmuch) notmuch new --quiet >/dev/null ;;
        dovecot) USER=$owner doveadm -c store/dovecot.conf import "maildir:$work/maildir" "" all ;;
        python*) "$python" python.py maildir store/python.db "${1#python}" ;;
    esac
}

stored() {
    case $1 in
        import | run) sed -E 's/.*"delivered":([0-9]+).*/\1/' store/answer ;;
        mu) mu info store --muhome="$work/store/mu" --nocolor 2>/dev/null | sed -n 's/[^0-9]*messages in store[^0-9]*\([0-9]*\).*/\1/p' ;;
        notmuch) notmuch count --exclude=false '*' ;;
        dovecot) USER=$owner doveadm -c store/dovecot.conf mailbox status messages INBOX | sed 's/.*messages=//' ;;
        python*) "$python" -c 'import sqlite3; print(sqlite3.connect("store/python.db").execute("select count(*) from mails").fetchone()[0])' ;;
    esac
}

# ---- runs ----------------------------------------------------------------------------------------------------------------------

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

measure() { # PROFILE MESSAGES
    local round tool count start end
    rm -rf maildir && mkdir -p maildir/cur maildir/new maildir/tmp
    "$mailmill" --quiet gen generated --profile "$1" --messages "$2"
    # Seen, and at rest: the names that Maildir gives.
    for file in generated/*; do mv "$file" "maildir/cur/${file##*/}:2,S"; done
    chmod -R a+rX maildir
    for round in $(seq "$runs"); do
        for tool in "${tools[@]}"; do
            [ ! -t 2 ] || printf '\r\033[K%s: %s %s of %s' "$1" "$tool" "$round" "$runs" >&2
            prepare "$tool"
            sync -f .
            start=$EPOCHREALTIME
            perform "$tool"
            end=$EPOCHREALTIME
            count=$(stored "$tool")
            rm -f maildir/dovecot* # it keeps notes beside the mail
            [ "$count" = "$2" ] || { echo "$tool has $count of $2 mails: the run does not count" >&2; exit 1; }
            awk -v s="$start" -v e="$end" -v n="$2" 'BEGIN { printf "%.1f\n", n / (e - s) }' >>"rates-$1-$tool"
        done
    done
    [ ! -t 2 ] || printf '\r\033[K' >&2
    rm -rf store
}

# The targets: how many times as fast as the peer `import` and `run` are to be.
targets() {
    case $1-$2 in
        small-mu) echo 9 6 ;;
        small-notmuch) echo 25 18 ;;
        small-dovecot) echo 2 1.5 ;;
        small-python*) echo 60 45 ;;
        mixed-mu) echo 3 - ;;
        mixed-notmuch) echo 8 - ;;
        mixed-dovecot) echo 3 - ;;
        mixed-python*) echo 40 - ;;
        *) echo - - ;;
    esac
}

table() { # PROFILE MESSAGES
    local tool rate import run bytes
    bytes=$(cat maildir/cur/* | wc -c)
    import=$(median <"rates-$1-import") run=$(median <"rates-$1-run")
    printf '\n%s: %s mails, %s MB; medians of %s runs\n' "$1" "$2" "$((bytes / 1000000))" "$runs"
    printf '%-46s %9s  %-19s %8s %8s %8s %8s\n' "" mails/s "(min - max)" import target run target
    for tool in "${tools[@]}"; do
        rate=$(median <"rates-$1-$tool")
        # shellcheck disable=SC2046 # two words
        set -- "$1" "$2" $(targets "$1" "$tool")
        awk -v title="$(title "$tool")" -v rate="$rate" -v i="$import" -v r="$run" -v ti="$3" -v tr="$4" \
            -v min="$(sort -n "rates-$1-$tool" | head -1)" -v max="$(sort -n "rates-$1-$tool" | tail -1)" \
            -v ours="$([ "$tool" = import ] || [ "$tool" = run ] && echo yes)" 'BEGIN {
                printf "%-46s %9.0f  %-19s", title, rate, sprintf("(%.0f - %.0f)", min, max)
                if (ours == "") printf " %7.1fx %8s %7.1fx %8s", i / rate, ti == "-" ? "" : ">= " ti "x", r / rate, tr == "-" ? "" : ">= " tr "x"
                print ""
            }' | sed 's/ *$//'
    done
}

echo "$(date -u +%Y-%m-%d), $(nproc) cores, $(df --output=fstype "$work" | tail -1), load before $(cut -d' ' -f1-3 /proc/loadavg)"
for profile in small mixed; do
    messages=${!profile}
    [ "$messages" -gt 0 ] || continue
    measure "$profile" "$messages"
    table "$profile" "$messages"
done
