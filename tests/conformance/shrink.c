/* What is left of a broken group goes on. Ranks that die are in tests/multiproc/lost.c. */
#include <stdatomic.h>

#include "harness.h"

static float one = 1;

static void expect_sum(dhole_group *group, float expected)
{
    float sum = 0;

    ASSERT_OK(dhole_all_sum(group, &one, &sum, 1, DHOLE_F32));
    ASSERT(sum == expected);
}

static void until_broken(struct rank *r)
{
    float sum;

    while (dhole_all_sum(r->group, &one, &sum, 1, DHOLE_F32) == DHOLE_OK)
        ;
}

/* Old ranks, in their old order. */
static void expect_ranks(const struct rank *r, dhole_group *group, unsigned set)
{
    int32_t own = r->rank, all[ranks_max];
    int n = 0;

    ASSERT_OK(dhole_all_gather(group, &own, all, 1, DHOLE_I32));
    for (int rank = 0; rank < r->size; rank++)
        if (set >> rank & 1)
            ASSERT_EQ(all[n++], rank);
    ASSERT_EQ(dhole_size(group), n);
    ASSERT_EQ(all[dhole_rank(group)], r->rank);
    expect_sum(group, (float)n);
}

static void leave(struct rank *r)
{
    dhole_group_free(r->group);
    r->group = NULL;
}

/* Those of a set of ranks leave. */
static void go_on_without(struct rank *r)
{
    unsigned lost = *(const unsigned *)r->arg;
    dhole_group *rest;

    if (lost >> r->rank & 1) {
        leave(r);
        return;
    }
    until_broken(r);
    ASSERT_OK(dhole_shrink(r->group, &rest));
    expect_ranks(r, rest, ~lost);
    leave(r);
    expect_ranks(r, rest, ~lost);
    dhole_group_free(rest);
}

ON_EVERY_BACKEND(those_who_are_left_go_on)
{
    static const unsigned lost[] = {1, 4, 1 | 2, 2 | 16};

    for (size_t i = 0; i < sizeof lost / sizeof lost[0]; i++)
        run_group(backend, 5, go_on_without, (void *)&lost[i]);
}

ON_EVERY_BACKEND(one_may_be_left)
{
    static const unsigned lost = 1 | 4;

    run_group(backend, 3, go_on_without, (void *)&lost);
}

/* Nobody is lost when somebody aborted, or did not come in time. */
static void abort_and_go_on(struct rank *r)
{
    dhole_group *rest;

    if (r->rank == r->size - 1)
        dhole_abort(r->group, "for a change");
    until_broken(r);
    ASSERT_OK(dhole_shrink(r->group, &rest));
    expect_ranks(r, rest, (1u << r->size) - 1);
    dhole_group_free(rest);
}

ON_EVERY_BACKEND(an_aborted_group_shrinks_to_all_its_ranks)
{
    run_group(backend, 3, abort_and_go_on, NULL);
    run_group(backend, 1, abort_and_go_on, NULL);
}

static void miss_and_go_on(struct rank *r)
{
    dhole_group *rest;

    if (r->rank == 1)
        ranks_meet(r);
    ASSERT_OK(dhole_set_timeout(r->group, 100));
    until_broken(r);
    if (r->rank != 1)
        ranks_meet(r);
    ASSERT_OK(dhole_shrink(r->group, &rest));
    expect_ranks(r, rest, (1u << r->size) - 1);
    dhole_group_free(rest);
}

ON_EVERY_BACKEND(a_group_goes_on_after_a_timeout)
{
    run_group(backend, 3, miss_and_go_on, NULL);
}

/* One rank less each time, the lowest first. */
static void shrink_again_and_again(struct rank *r)
{
    dhole_group *group = r->group, *rest;
    float sum;

    r->group = NULL;
    for (int lost = 0; lost < r->rank; lost++) {
        expect_ranks(r, group, ~((1u << lost) - 1));
        while (dhole_all_sum(group, &one, &sum, 1, DHOLE_F32) == DHOLE_OK)
            ;
        ASSERT_CONTAINS(dhole_error_message(), "rank 0");
        ASSERT_OK(dhole_shrink(group, &rest));
        dhole_group_free(group);
        group = rest;
    }
    expect_ranks(r, group, ~((1u << r->rank) - 1));
    dhole_group_free(group);
}

ON_EVERY_BACKEND(a_shrunk_group_shrinks)
{
    run_group(backend, 4, shrink_again_and_again, NULL);
}

static void shrink_a_part(struct rank *r)
{
    dhole_group *part, *rest;
    float sum;

    ASSERT_OK(dhole_split(r->group, r->rank % 2, -1, &part));
    if (r->rank >= 2)
        while (dhole_all_sum(part, &one, &sum, 1, DHOLE_F32) == DHOLE_OK)
            ;
    if (r->rank >= 2)
        ASSERT_OK(dhole_shrink(part, &rest));
    dhole_group_free(part);
    if (r->rank >= 2) {
        expect_sum(rest, 2);
        ASSERT_OK(dhole_split(rest, 0, -1, &part));
        expect_sum(part, 2);
        dhole_group_free(part);
        dhole_group_free(rest);
    }
    expect_sum(r->group, (float)r->size);
}

ON_EVERY_BACKEND(a_part_shrinks)
{
    run_group(backend, 6, shrink_a_part, NULL);
}

static void shrink_whole(struct rank *r)
{
    dhole_group *rest = NULL;

    ASSERT_ERR(dhole_shrink(r->group, &rest), DHOLE_ERR_INVALID);
    ASSERT_CONTAINS(dhole_error_message(), "not broken");
    ASSERT(rest == NULL);
    expect_sum(r->group, (float)r->size);
}

ON_EVERY_BACKEND(a_whole_group_does_not_shrink)
{
    run_group(backend, 2, shrink_whole, NULL);
}

/* A rank that is there but does not come is waited for, and then left behind: it learns so at
 * once when it comes after all. */
static void come_late(struct rank *r)
{
    dhole_group *rest = NULL;
    int64_t begin;

    r->options.connect_timeout_ms = patient(2000);
    rank_joins(r);
    if (r->rank == 0)
        dhole_abort(r->group, "one will be late");
    until_broken(r);
    begin = now_ms();
    if (r->rank == 2)
        ranks_meet(r); /* until the others have gone on */
    if (r->rank == 2) {
        begin = now_ms();
        ASSERT_ERR(dhole_shrink(r->group, &rest), DHOLE_ERR_PEER_LOST);
        ASSERT_CONTAINS(dhole_error_message(), "too late");
        ASSERT(now_ms() - begin < patient(500));
    } else {
        ASSERT_OK(dhole_shrink(r->group, &rest));
        ASSERT(now_ms() - begin >= patient(1000));
        expect_ranks(r, rest, 3);
        ranks_meet(r);
    }
    dhole_group_free(rest);
    dhole_group_free(r->group);
}

ON_EVERY_BACKEND(who_comes_too_late_is_told)
{
    run_ranks(backend, 3, come_late, NULL);
}

/* A rank leaves while the others shrink. */
static void leave_while_shrinking(struct rank *r)
{
    dhole_group *rest;

    if (r->rank == 0) {
        leave(r);
        return;
    }
    until_broken(r);
    if (r->rank == 3) {
        leave(r);
        return;
    }
    ASSERT_OK(dhole_shrink(r->group, &rest));
    expect_ranks(r, rest, 2 | 4 | 16);
    dhole_group_free(rest);
}

ON_EVERY_BACKEND(a_rank_may_leave_meanwhile)
{
    run_group(backend, 5, leave_while_shrinking, NULL);
}
