#!/bin/sh
# script/check-layers must pass good trees and catch each kind of planted violation.
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# check NAME FILE INCLUDE WANTED: a tree with that one include in FILE; WANTED is part
# of the complaint, or empty when there must be none.
check() {
    rm -rf "$work/src" "$work/include"
    mkdir -p "$work/src/base" "$work/include/dhole" "$work/$(dirname "$2")"
    printf '/* a file */\n#include %s\n' "$3" >"$work/$2"
    status=0
    out=$(script/check-layers "$work" 2>&1) || status=$?
    if [ -z "$4" ]; then
        [ $status -eq 0 ] && [ -z "$out" ]
    else
        [ $status -ne 0 ] && echo "$out" | grep -qF "$2:2: $4"
    fi && passed=$((passed + 1)) && echo "ok      $1" && return 0
    failed=$((failed + 1))
    printf 'FAILED  %s: exit %d: %s\n' "$1" "$status" "$out"
}

check downward src/group/a.c '"transport/io.h"' ''
check own_room src/nn/a.c '"nn/pool.h"' ''
check public_of_a_lower_room src/infer/a.c '"dhole/group.h"' ''
check system_header src/transport/tcp/a.c '<sys/socket.h>' ''
check upward src/coll/a.c '"group/group.h"' 'coll includes group/group.h of group, which is above it'
check upward_deep src/transport/tcp/a.c '"seal/seal.h"' 'transport includes seal/seal.h'
check upward_public src/group/a.c '"dhole/infer.h"' 'group includes dhole/infer.h of infer'
check umbrella_inside src/infer/a.c '"dhole/dhole.h"' 'infer includes dhole/dhole.h'
check socket_in_infer src/infer/a.c '<netinet/tcp.h>' 'infer includes netinet/tcp.h: it may see a group'
check transport_in_nn src/nn/a.h '"transport/conn.h"' 'nn includes transport/conn.h'
check unknown_public src/cli/a.c '"dhole/other.h"' 'dhole/other.h belongs to no room'
check private_in_public include/dhole/group.h '"base/error.h"' 'a public header includes base/error.h'
check public_upward include/dhole/error.h '"dhole/group.h"' 'base includes dhole/group.h of group'
check umbrella include/dhole/dhole.h '"dhole/infer.h"' ''

echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
