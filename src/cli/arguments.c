#include "cli/arguments.h"

#include <float.h>
#include <limits.h>
#include <string.h>

#include "cli/cli.h"

enum { threads_max = 1024, default_max_tokens = 512 };

static bool parse_parallel(char **argv, dhole_parallel *out)
{
    for (int p = DHOLE_PARALLEL_AUTO; p <= DHOLE_PARALLEL_PP; p++)
        if (strcmp(optarg, dhole_parallel_name((dhole_parallel)p)) == 0) {
            *out = (dhole_parallel)p;
            return true;
        }
    dhole__usage(argv[0], "--parallel \"%s\": expected auto, single, tp or pp", optarg);
    return false;
}

static bool parse_backend(char **argv, const char **out)
{
    static const char *const names[] = {"any", "ring", "shm", "jaccl", "jaccl-ring"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(optarg, names[i]) == 0) {
            *out = names[i];
            return true;
        }
    dhole__usage(argv[0], "--backend \"%s\": expected any, ring, shm, jaccl or jaccl-ring", optarg);
    return false;
}

static bool parse_seal(char **argv, enum dhole__sealing *out)
{
    static const char *const names[] = {"auto", "on", "off"}; /* by enum dhole__sealing */

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(optarg, names[i]) == 0) {
            *out = (enum dhole__sealing)i;
            return true;
        }
    dhole__usage(argv[0], "--seal \"%s\": expected auto, on or off", optarg);
    return false;
}

/* Cuts the list where it is. */
static bool parse_peers(char **argv, struct dhole__arguments *a)
{
    a->peer_count = 0;
    for (char *name = optarg, *end; name != NULL; name = end) {
        end = strchr(name, ',');
        if (end != NULL)
            *end++ = '\0';
        for (int i = 0; i < a->peer_count; i++)
            if (strcmp(a->peers[i], name) == 0) {
                dhole__usage(argv[0], "--peers names %s twice", name);
                return false;
            }
        if (name[0] == '\0' || a->peer_count == dhole__ranks_max - 1) {
            dhole__usage(argv[0], "--peers: expected 1 to %d names, separated by commas",
                         dhole__ranks_max - 1);
            return false;
        }
        a->peers[a->peer_count++] = name;
    }
    return true;
}

enum {
    opt_model = 256,
    opt_prompt,
    opt_raw,
    opt_system,
    opt_max_tokens,
    opt_ranks,
    opt_peers,
    opt_parallel,
    opt_backend,
    opt_devices,
    opt_seal,
    opt_threads,
    opt_temperature,
    opt_top_k,
    opt_top_p,
    opt_seed,
    opt_stats,
    opt_json,
    opt_logits_out
};

static const struct option options[] = {
    {"model", required_argument, NULL, opt_model},
    {"prompt", required_argument, NULL, opt_prompt},
    {"raw", no_argument, NULL, opt_raw},
    {"system", required_argument, NULL, opt_system},
    {"max-tokens", required_argument, NULL, opt_max_tokens},
    {"ranks", required_argument, NULL, opt_ranks},
    {"peers", required_argument, NULL, opt_peers},
    {"parallel", required_argument, NULL, opt_parallel},
    {"backend", required_argument, NULL, opt_backend},
    {"devices", required_argument, NULL, opt_devices},
    {"seal", required_argument, NULL, opt_seal},
    {"threads", required_argument, NULL, opt_threads},
    {"temperature", required_argument, NULL, opt_temperature},
    {"top-k", required_argument, NULL, opt_top_k},
    {"top-p", required_argument, NULL, opt_top_p},
    {"seed", required_argument, NULL, opt_seed},
    {"stats", no_argument, NULL, opt_stats},
    {"json", no_argument, NULL, opt_json},
    {"logits-out", required_argument, NULL, opt_logits_out},
    {"help", no_argument, NULL, 'h'},
    {0},
};

/* Takes option c; false after its fault has been printed. */
static bool take(char **argv, int c, struct dhole__arguments *a)
{
    long long n = 0;
    bool ok = true;

    switch (c) {
    case opt_model: a->model = optarg; break;
    case opt_prompt: a->prompt = optarg; break;
    case opt_raw: a->raw = true; break;
    case opt_system: a->system = optarg; break;
    case opt_max_tokens:
        ok = dhole__option_int(argv, "max-tokens", 0, INT_MAX, &a->max_tokens);
        break;
    case opt_ranks: ok = dhole__option_int(argv, "ranks", 1, dhole__ranks_max, &a->ranks); break;
    case opt_peers: ok = parse_peers(argv, a); break;
    case opt_parallel: ok = parse_parallel(argv, &a->parallel); break;
    case opt_backend: ok = parse_backend(argv, &a->backend); break;
    case opt_devices: a->devices = optarg; break;
    case opt_seal: ok = parse_seal(argv, &a->sealing); break;
    case opt_threads: ok = dhole__option_int(argv, "threads", 1, threads_max, &a->threads); break;
    case opt_temperature:
        ok = dhole__option_float(argv, "temperature", 0, FLT_MAX, "from 0 on",
                                 &a->sampling.temperature);
        break;
    case opt_top_k:
        ok = dhole__option_int(argv, "top-k", 0, INT_MAX, &n);
        a->sampling.top_k = (int)n;
        break;
    case opt_top_p:
        ok = dhole__option_float(argv, "top-p", FLT_MIN, 1, "above 0 and up to 1",
                                 &a->sampling.top_p);
        break;
    case opt_seed:
        ok = dhole__option_int(argv, "seed", 0, LLONG_MAX, &n);
        a->sampling.seed = (uint64_t)n;
        break;
    case opt_stats: a->stats = true; break;
    case opt_json: a->json = true; break;
    case opt_logits_out: a->logits_out = optarg; break;
    default: return false;
    }
    return ok;
}

/* What only ranks of this machine can have. */
static int check_peers(char **argv, struct dhole__arguments *a)
{
    if (a->peer_count == 0)
        return DHOLE__EXIT_DONE;
    if (a->ranks > 1)
        return dhole__usage(argv[0], "--ranks starts ranks here, --peers takes other machines: "
                                     "give one of them");
    if (a->devices != NULL && strncmp(a->backend, "jaccl", strlen("jaccl")) != 0)
        return dhole__usage(argv[0], "--devices is for --backend jaccl, this is %s", a->backend);
    if (a->devices != NULL && !dhole__check_devices(argv[0], a->devices))
        return DHOLE__EXIT_USAGE;
    if (a->sealing == DHOLE__SEAL_OFF)
        return dhole__usage(argv[0], "--seal off is for --ranks: to --peers everything is sealed");
    a->ranks = a->peer_count + 1;
    return DHOLE__EXIT_DONE;
}

int dhole__arguments_parse(int argc, char **argv, struct dhole__arguments *out)
{
    int c;

    *out = (struct dhole__arguments){
        .max_tokens = default_max_tokens, .ranks = 1, .backend = "any", .sampling = {.top_p = 1}};
    while ((c = dhole__next_option(argc, argv, options)) != -1) {
        if (c == 'h')
            out->help = true;
        else if (!take(argv, c, out))
            return DHOLE__EXIT_USAGE;
    }
    if (!out->help && out->model == NULL)
        return dhole__usage(argv[0], "--model FILE is missing");
    if (!out->help && out->prompt == NULL)
        return dhole__usage(argv[0], "--prompt TEXT is missing");
    return check_peers(argv, out);
}
