#!/usr/bin/env bash
# fuzz/run.sh TIME [target...]: runs every target, or those named, for TIME seconds each, under the address sanitizer.
# Installs cargo-fuzz where it is missing. New inputs grow in fuzz/corpus; a finding lies in fuzz/artifacts, and the exit code is 1.
# A finding that is understood moves to testdata/regress under the name of what it broke.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?usage: fuzz/run.sh TIME [target...]}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(mime dkim envelope tnef ical names store sanitise import smtp)

shim=$(mktemp -d)
trap 'rm -rf "$shim"' EXIT
fuzz=$(command -v cargo-fuzz || true)
if [ -z "$fuzz" ]; then
    tools=${XDG_CACHE_HOME:-$HOME/.cache}/mailmill/tools
    fuzz=$tools/bin/cargo-fuzz
    [ -x "$fuzz" ] || cargo install cargo-fuzz --locked --root "$tools"
fi

# cargo-fuzz calls plain `cargo`: an older toolchain gets one that knows the flag of .ci/cargo.
if [ "$(rustc --version | sed -E 's/^rustc 1\.([0-9]+).*/\1/')" -lt 98 ]; then
    printf '#!/bin/sh\nMAILMILL_CARGO=%q exec %q "$@"\n' "$(command -v cargo)" "$PWD/.ci/cargo" > "$shim/cargo"
    chmod +x "$shim/cargo"
    export PATH="$shim:$PATH"
    unset CARGO
fi
# Sanitizers are not stable; stable toolchains have them behind this.
export RUSTC_BOOTSTRAP=1
target_folder=${FUZZ_TARGET_DIR:-$PWD/fuzz/target}

# Real files of the kind that a target reads, where a corpus lies beside the project. They are read, never added to.
borrow() {
    mkdir -p "$2"
    [ -d ../shared/corpus ] || return 0
    case $1 in
        mime | dkim | envelope | names | import) names=(-name '*.eml' -o -name '*.mbox') ;;
        tnef) names=(-name '*.tnef' -o -iname 'winmail*.dat' -o -name '*.p7m') ;;
        ical) names=(-name '*.ics') ;;
        sanitise) names=(-name '*.html' -o -name '*.htm') ;;
        *) return 0 ;;
    esac
    local number=0 file
    while IFS= read -r -d '' file; do
        cp "$file" "$2/$((number += 1))"
    done < <(find ../shared/corpus -type f -size -33k \( "${names[@]}" \) -print0)
}

found=0
for target in "${targets[@]}"; do
    corpus=fuzz/corpus/$target
    seeds=testdata/seeds/$target
    mkdir -p "$corpus" "fuzz/artifacts/$target"
    options=(-max_total_time="$time" -timeout=25 -rss_limit_mb=2048 -max_len=32768 -print_final_stats=1)
    case $target in
        store) ;;
        tnef | ical | sanitise) options+=(-dict="fuzz/$target.dict") ;;
        *) options+=(-dict=fuzz/mime.dict) ;;
    esac
    borrow "$target" "$shim/seeds-$target"
    # A build that fails is no finding.
    "$fuzz" fuzz build --target-dir "$target_folder" "$target"
    echo "== $target, $time s" >&2
    if ! "$fuzz" fuzz run --target-dir "$target_folder" "$target" "$corpus" "$seeds" "$shim/seeds-$target" -- "${options[@]}"; then
        echo "== $target: a finding, see fuzz/artifacts/$target" >&2
        found=1
    fi
done
exit $found
