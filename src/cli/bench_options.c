#include "cli/bench_options.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/cli.h"
#include "coll/comm.h"

static const size_t size_max = (size_t)1 << 40;

bool dhole__bench_option_size(char **argv, const char *name, size_t *out)
{
    static const char units[] = "KMGT";
    char *end;
    unsigned long long n = strtoull(optarg, &end, 10);
    const char *unit = *end != '\0' ? strchr(units, *end) : NULL;
    int shift = unit != NULL ? 10 * (int)(unit - units + 1) : 0;

    if (end == optarg || optarg[0] == '-' || n == 0 || n > size_max >> shift ||
        (*end != '\0' && (unit == NULL || end[1] != '\0'))) {
        dhole__usage(argv[0], "--%s \"%s\": expected a size from 1 to 1T, such as 8, 64K or 64M",
                     name, optarg);
        return false;
    }
    *out = (size_t)n << shift;
    return true;
}

static bool parse_dtype(char **argv, dhole_dtype *out)
{
    static const struct {
        const char *code, *name;
        dhole_dtype dtype;
    } types[] = {
#define TYPE(code, value, name, size) {#code, name, DHOLE_##code},
        DHOLE_DTYPE_MAP(TYPE)
#undef TYPE
    };

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcasecmp(optarg, types[i].code) == 0 || strcmp(optarg, types[i].name) == 0) {
            *out = types[i].dtype;
            return true;
        }
    dhole__usage(argv[0],
                 "--dtype \"%s\": expected bool, u8 to u64, i8 to i64, f16, bf16, f32, "
                 "f64 or c64",
                 optarg);
    return false;
}

static bool parse_backend(char **argv, const char **out)
{
    static const char *const names[] = {"any", "ring", "tcp", "shm", "jaccl", "jaccl-ring"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(optarg, names[i]) == 0) {
            *out = names[i];
            return true;
        }
    dhole__usage(argv[0], "--backend \"%s\": expected any, ring (or tcp), shm, jaccl or jaccl-ring",
                 optarg);
    return false;
}

static bool parse_seal(char **argv, bool *out)
{
    *out = strcmp(optarg, "on") == 0;
    if (*out || strcmp(optarg, "off") == 0)
        return true;
    dhole__usage(argv[0], "--seal \"%s\": expected on or off", optarg);
    return false;
}

static const struct option options[] = {
    {"backend", required_argument, NULL, 'b'}, {"devices", required_argument, NULL, 'D'},
    {"min", required_argument, NULL, 'm'},     {"max", required_argument, NULL, 'M'},
    {"dtype", required_argument, NULL, 'd'},   {"iterations", required_argument, NULL, 'i'},
    {"time", required_argument, NULL, 't'},    {"check", no_argument, NULL, 'c'},
    {"seal", required_argument, NULL, 's'},    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},          {0},
};

/* Takes option c; false after its fault has been printed. */
static bool take(char **argv, int c, struct dhole__bench_options *out)
{
    float seconds;

    switch (c) {
    case 'n': return dhole__option_int(argv, "n", 1, dhole__rank_max, &out->ranks);
    case 'b': return parse_backend(argv, &out->backend);
    case 'D': out->devices = optarg; return true;
    case 'm': return dhole__bench_option_size(argv, "min", &out->plan.min);
    case 'M': return dhole__bench_option_size(argv, "max", &out->plan.max);
    case 'd': return parse_dtype(argv, &out->plan.dtype);
    case 'i': return dhole__option_int(argv, "iterations", 1, 10000000, &out->plan.iterations);
    case 't':
        if (!dhole__option_float(argv, "time", FLT_MIN, 3600, "above 0 and up to 3600", &seconds))
            return false;
        out->plan.seconds = seconds;
        return true;
    case 'c': out->plan.check = true; return true;
    case 's': return parse_seal(argv, &out->seal);
    case 'j': out->json = true; return true;
    case 'h': out->help = true; return true;
    default: return false;
    }
}

static const struct dhole__bench_operation *find(const char *name)
{
    const struct dhole__bench_operation *operation = dhole__bench_operations;

    while (operation->name != NULL && strcmp(operation->name, name) != 0)
        operation++;
    return operation->name != NULL ? operation : NULL;
}

int dhole__bench_options_parse(int argc, char **argv, struct dhole__bench_options *out)
{
    const char *name = argc > 1 ? argv[1] : "";
    int c;

    *out = (struct dhole__bench_options){
        .plan = {.dtype = DHOLE_F32, .min = 8, .max = (size_t)64 << 20, .seconds = 0.25}};
    if (name[0] != '\0' && name[0] != '-') {
        out->plan.operation = find(name);
        argv[1] = argv[0];
        argc--;
        argv++;
    }
    while ((c = dhole__next_option_before(argc, argv, "n:", options)) != -1)
        if (!take(argv, c, out))
            return DHOLE__EXIT_USAGE;
    if (out->help)
        return DHOLE__EXIT_DONE;
    if (optind < argc)
        return dhole__usage(argv[0], "unexpected \"%s\"", argv[optind]);
    if (out->plan.operation == NULL)
        return dhole__usage(argv[0],
                            "\"%s\" is not an operation: expected all_sum, all_gather, "
                            "sum_scatter, broadcast, all_to_all, sendrecv or barrier",
                            name);
    if (out->plan.min > out->plan.max)
        return dhole__usage(argv[0], "--min %zu is above --max %zu", out->plan.min, out->plan.max);
    if (out->plan.operation->ping_pong && out->ranks == 1)
        return dhole__usage(argv[0], "%s takes two ranks", out->plan.operation->name);
    return DHOLE__EXIT_DONE;
}
