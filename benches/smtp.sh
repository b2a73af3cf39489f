#!/usr/bin/env bash
# benches/smtp.sh [MAILS]: mailmill against Postfix, on the same machine, disk and client, in turn.
# Both answer 250 only when the mail is durable; Postfix delivers into a Maildir, mailmill into a list.
# Prints, for each of ROUNDS rounds: mails accepted a second, and mails a second until the last one was where it belongs.
#
#   SESSIONS=32 SIZE=4000 ROUNDS=3 WORK=/var/tmp MAILMILL=target/release/mailmill benches/smtp.sh 20000
#
# Wants root (Postfix does), Postfix and its smtp-source (.ci/setup-mail), and python3 for sums. Everything stays on loopback and in a folder below WORK.
set -euo pipefail
mails=${1:-20000}
sessions=${SESSIONS:-32}
size=${SIZE:-4000}
rounds=${ROUNDS:-3}
mailmill=${MAILMILL:-${CARGO_TARGET_DIR:-target}/release/mailmill}
mailmill=$(realpath "$mailmill")
work=$(mktemp -d "${WORK:-/var/tmp}/mailmill-smtp.XXXXXX")
chmod 755 "$work"
postfix_port=127.0.0.1:12526
mailmill_port=127.0.0.1:12525
pid=
end() {
    postfix -c "$work/etc" stop >/dev/null 2>&1 || true
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    wait || true
    rm -rf "$work"
}
trap end EXIT

now() { date +%s.%N; }
rate() { python3 -c "print(round($mails / ($2 - $1)))"; }
send() { smtp-source -s "$sessions" -m "$mails" -l "$size" -f ann@example.org -t "$1" "inet:$2"; }
wait_for_port() { for _ in $(seq 100); do (exec 3<>"/dev/tcp/${1/://}") 2>/dev/null && return; sleep 0.1; done; echo "nobody listens at $1" >&2; exit 1; }

# Postfix: as Debian ships it, but for its folders, a Maildir, and as many processes as there are clients.
mkdir -p "$work/etc" "$work/spool" "$work/data" "$work/mail"
chown postfix "$work/data"
chown nobody "$work/mail"
cat > "$work/etc/main.cf" <<END
compatibility_level = 3.6
queue_directory = $work/spool
data_directory = $work/data
myhostname = front.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
maillog_file = $work/log
maillog_file_prefixes = $work
alias_maps =
alias_database =
default_process_limit = 200
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
default_database_type = texthash
virtual_mailbox_domains = lists.example
virtual_mailbox_base = $work/mail
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:$(id -u nobody)
virtual_gid_maps = static:$(id -g nobody)
END
{
    echo "$postfix_port inet n - n - - smtpd"
    grep -v '^smtp      inet' /etc/postfix/master.cf | awk '/^[a-z]/ && NF >= 8 { $5 = "n" } { print }'
} > "$work/etc/master.cf"
postfix -c "$work/etc" start >/dev/null 2>&1
wait_for_port "$postfix_port"

"$mailmill" init "$work/mill" 2>/dev/null
cat > "$work/mill/mailmill.toml" <<END
[incoming]
accepted_domains = ["lists.example"]
[smtp]
listen = ["$mailmill_port"]
END
export MAILMILL_CONFIG=$work/mill/mailmill.toml
"$mailmill" list create news --kind announcements --address news senders=any >/dev/null
"$mailmill" serve >/dev/null 2>"$work/mill.log" &
pid=$!
wait_for_port "$mailmill_port"

delivered_by_postfix() { find "$work/mail/box/new" -type f 2>/dev/null | wc -l; }
delivered_by_mailmill() { find "$work/mill/drop" -name '*.eml*' -type f | wc -l; }

printf '%-10s %-9s %12s %12s\n' round server accepted/s delivered/s
for round in $(seq "$rounds"); do
    rm -rf "$work/mail/box"
    sync
    begin=$(now)
    send news@lists.example "$postfix_port"
    accepted=$(now)
    until [ "$(delivered_by_postfix)" -ge "$mails" ]; do sleep 0.2; done
    printf '%-10s %-9s %12s %12s\n' "$round" postfix "$(rate "$begin" "$accepted")" "$(rate "$begin" "$(now)")"
    sync
    begin=$(now)
    send news@lists.example "$mailmill_port"
    accepted=$(now)
    until [ "$(delivered_by_mailmill)" -eq 0 ]; do sleep 0.05; done
    printf '%-10s %-9s %12s %12s\n' "$round" mailmill "$(rate "$begin" "$accepted")" "$(rate "$begin" "$(now)")"
done
kill "$pid"; wait "$pid"; pid=
items=$("$mailmill" items news --json | wc -l)
[ "$items" -eq $((mails * rounds)) ] || { echo "$items items of $((mails * rounds))" >&2; exit 1; }
echo "every mail is in the list once: $items items"
