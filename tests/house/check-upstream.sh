#!/bin/sh
# script/check-upstream must pass a page that is true and catch each way in which one is not.
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
mkdir -p "$work/docs" "$work/include" "$work/src" "$work/tests/cli"
echo 'int dhole_init(void);' >"$work/include/dhole.h"
echo 'getenv("DHOLE_RANK")' >"$work/src/env.c"
printf 'TEST(mlx_1_first)\n{\n}\n\nON_EVERY_BACKEND(second)\n' >"$work/tests/a.c"
printf 'def third(self):\n    pass\n' >"$work/tests/cli/b.py"

# check NAME LINE WANTED: the page with that line in place of its second; WANTED is part of the
# complaint, or empty when there must be none.
check() {
    # shellcheck disable=SC2016 # the page's quotes
    printf '%s\n' '| #1 | `tests/a.c:mlx_1_first` |' "$2" >"$work/docs/upstream.md"
    status=0
    out=$(script/check-upstream "$work" 2>&1) || status=$?
    if [ -z "$3" ]; then
        [ $status -eq 0 ] && [ -z "$out" ]
    else
        [ $status -ne 0 ] && echo "$out" | grep -qF "docs/$3"
    fi && passed=$((passed + 1)) && echo "ok      $1" && return 0
    failed=$((failed + 1))
    printf 'FAILED  %s: exit %d: %s\n' "$1" "$status" "$out"
}

# shellcheck disable=SC2016 # the page's quotes
{
    check true_page '| #2 | `dhole_init` `DHOLE_RANK` | `tests/a.c:second` `tests/cli/b.py:third` |' ''
    check no_test '| #2 | `tests/a.c:fourth` |' 'upstream.md:2: tests/a.c has no test fourth'
    check part_of_a_name '| #2 | `tests/a.c:secon` |' 'upstream.md:2: tests/a.c has no test secon'
    check no_file '| #2 | `tests/c.c:second` |' 'upstream.md:2: there is no tests/c.c'
    check no_function '| #2 | `dhole_ini` | `tests/a.c:second` |' 'upstream.md:2: no header or source has dhole_ini'
    check no_variable 'Set `DHOLE_RANKS`.' 'upstream.md:2: no header or source has DHOLE_RANKS'
    check untested_report '| #2 | much |' 'upstream.md:2: a report without a test'
}
# shellcheck disable=SC2016 # the page's quotes
printf '## What the errors mean\n\n| message | |\n|---|---|\n| `no such text` | why |\n' >"$work/docs/rdma.md"
check unknown_message '' 'rdma.md: no source says "no such text"'
rm "$work/docs/rdma.md"
printf 'TEST(exo_2_not_listed)\n' >>"$work/tests/a.c"
check unlisted_test '' 'upstream.md: tests/a.c:exo_2_not_listed is not listed'

echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
