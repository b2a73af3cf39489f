#!/usr/bin/env bash
# Counts the instructions that one mail costs a worker (read, hash, parse, route, plan) on a fixed corpus, and compares them with
# benches/perf.txt: the same program gives the same count on a busy machine too. Fails when a figure grew by more than 5 %.
#   benches/perf.sh            compare
#   benches/perf.sh --accept   make what was counted the new figures
# SHA-256 and BLAKE3 have lines of their own: valgrind does not know the instructions that hash on a real processor, and what it
# counts instead would hide everything else.
set -euo pipefail
cd "$(dirname "$0")/.."
mailmill=${CARGO_TARGET_DIR:-target}/release/mailmill
figures=benches/perf.txt
limit=5 # per cent

if ! command -v valgrind >/dev/null; then
    command -v apt-get >/dev/null || { echo "please install valgrind" >&2; exit 1; }
    as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
    echo "installing valgrind" >&2
    as_root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-install-recommends valgrind
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# count PROFILE MESSAGES: two lines, "PROFILE WHAT INSTRUCTIONS"
count() {
    "$mailmill" --quiet gen "$work/$1" --profile "$1" --messages "$2" --seed 1
    valgrind --quiet --tool=callgrind --callgrind-out-file="$work/$1.out" \
        --toggle-collect='mailmill::cli::bench::plan::parse_and_plan' \
        "$mailmill" bench-plan "$work/$1" >/dev/null
    # Lines are "1,234 ( 5.6%)  file:function [object]". BLAKE3's kernels are assembly without a name.
    callgrind_annotate --threshold=100 "$work/$1.out" | awk -v profile="$1" '
        /^ *[0-9,]+ \(/ && !/PROGRAM TOTALS/ {
            gsub(",", "", $1)
            if (/:sha2::|:blake3|:0x/) hash += $1; else plan += $1
        }
        END { printf "%s plan %d\n%s hash %d\n", profile, plan, profile, hash }'
}

{ count small 500; count mixed 50; } >"$work/counted"
if ! awk '$3 == 0 { exit 1 }' "$work/counted"; then
    cat "$work/counted" >&2
    echo "nothing was counted: does the program have symbols, and a function parse_and_plan?" >&2
    exit 1
fi
toolchain="$(rustc --version | cut -d' ' -f1,2), $(uname -m), $(valgrind --version)"

if [ "${1:-}" = --accept ]; then
    {
        echo "# Instructions of a worker on 500 small and 50 mixed mails, by \`make perf ACCEPT=1\`."
        echo "# $toolchain"
        cat "$work/counted"
    } >"$figures"
    cat "$figures"
    exit
fi

known=$(sed -n '2s/^# //p' "$figures")
[ "$known" = "$toolchain" ] || echo "the figures were taken with $known, this is $toolchain: they may differ by that alone" >&2
awk -v limit="$limit" '
    /^#/ { next }
    NR == FNR { old[$1 " " $2] = $3; next }
    {
        key = $1 " " $2
        if (!(key in old)) { printf "%-12s %12d  no figure\n", key, $3; bad = 1; next }
        grown = ($3 / old[key] - 1) * 100
        printf "%-12s %12d  %12d before  %+.2f %%%s\n", key, $3, old[key], grown, (grown > limit ? "  TOO MUCH" : "")
        if (grown > limit) bad = 1
    }
    END { exit bad }' "$figures" "$work/counted" || {
    echo "the plan path costs more than $limit % more instructions than before. If it has to: make perf ACCEPT=1" >&2
    exit 1
}
