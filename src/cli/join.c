#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "base/sys.h"
#include "cli/cli.h"
#include "cli/keys.h"
#include "cli/signals.h"
#include "cli/worker.h"
#include "cluster/host_name.h"
#include "cluster/trust.h"

enum { threads_max = 1024, token_size = DHOLE_TOKEN_SIZE + 2 /* a line */ };

struct options {
    const char *token, *listen, *address, *name, *model, *devices, *identity, *trust;
    long long threads;
    bool once, hide, help;
};

enum {
    opt_listen = 256,
    opt_address,
    opt_name,
    opt_model,
    opt_devices,
    opt_threads,
    opt_identity,
    opt_trust,
    opt_once,
    opt_hide
};

static const struct option table[] = {
    {"listen", required_argument, NULL, opt_listen},
    {"address", required_argument, NULL, opt_address},
    {"name", required_argument, NULL, opt_name},
    {"model", required_argument, NULL, opt_model},
    {"devices", required_argument, NULL, opt_devices},
    {"threads", required_argument, NULL, opt_threads},
    {"identity", required_argument, NULL, opt_identity},
    {"trust", required_argument, NULL, opt_trust},
    {"once", no_argument, NULL, opt_once},
    {"hide", no_argument, NULL, opt_hide},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static bool take(char **argv, int c, struct options *o)
{
    switch (c) {
    case opt_listen: return dhole__option_address(argv, "listen", &o->listen);
    case opt_address: return dhole__option_address(argv, "address", &o->address);
    case opt_name: o->name = optarg; return true;
    case opt_model: o->model = optarg; return true;
    case opt_devices: o->devices = optarg; return dhole__check_devices(argv[0], optarg);
    case opt_threads: return dhole__option_int(argv, "threads", 1, threads_max, &o->threads);
    case opt_identity: o->identity = optarg; return true;
    case opt_trust: o->trust = optarg; return true;
    case opt_once: o->once = true; return true;
    case opt_hide: o->hide = true; return true;
    case 'h': o->help = true; return true;
    default: return false;
    }
}

/* The token may come before the options, or after them. */
static int parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){0};
    while (optind < argc) {
        int c = dhole__next_option_before(argc, argv, "", table);
        if (c == -1 && optind < argc && o->token == NULL)
            o->token = argv[optind++];
        else if (c == -1 && optind < argc)
            return dhole__usage(argv[0], "unexpected \"%s\"", argv[optind]);
        else if (c != -1 && !take(argv, c, o))
            return DHOLE__EXIT_USAGE;
    }
    if (o->help)
        return DHOLE__EXIT_DONE;
    if (o->name != NULL && dhole__check_name(o->name) != DHOLE_OK)
        return dhole__usage(argv[0], "--name: %s", dhole_error_message());
    if (o->token == NULL && o->listen == NULL)
        return dhole__usage(argv[0], "expected a TOKEN of dhole pair, --listen HOST:PORT, or both");
    if (o->listen == NULL && (o->model != NULL || o->devices != NULL || o->once))
        return dhole__usage(argv[0], "--model, --devices and --once are for --listen HOST:PORT");
    if (o->address != NULL && (o->token == NULL || o->listen != NULL))
        return dhole__usage(argv[0], "--address is for a TOKEN without --listen");
    return DHOLE__EXIT_DONE;
}

/* Until somebody has typed something, or a signal has come. */
static dhole_err await_stdin(void)
{
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                           {.fd = dhole__signals_fd(), .events = POLLIN}};

    while (dhole__sys.poll(fds, 2, -1) < 0)
        if (errno != EINTR)
            return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot wait for the token");
    return fds[1].revents ? dhole__fail(DHOLE_ERR_CANCELLED, "interrupted") : DHOLE_OK;
}

/* The argument itself, or a line of stdin when it is "-". */
static dhole_err read_token(const char *argument, char out[static token_size])
{
    bool fits;

    if (strcmp(argument, "-") == 0) {
        dhole_err err = await_stdin();
        if (err)
            return err;
        fits = fgets(out, token_size, stdin) != NULL && strchr(out, '\n') != NULL;
    } else {
        fits = snprintf(out, token_size, "%s", argument) < token_size;
    }
    out[strcspn(out, "\r\n")] = '\0';
    return fits ? DHOLE_OK
                : dhole__fail(DHOLE_ERR_FORMAT, "expected one line with the token of dhole pair");
}

/* Both machines trust each other then. The address is that of the worker, if it is known. */
static dhole_err pair_with(const char *token, const dhole_identity *identity, const char *name,
                           const char *address)
{
    char fingerprint[DHOLE_FINGERPRINT_SIZE];
    dhole_trusted other;
    dhole_err err = dhole_pair_join(identity, name, address, token, dhole__signals_fd(), &other);

    if (err == DHOLE_OK)
        err = dhole__keys_trust_paired(&other);
    if (err)
        return err;
    dhole_fingerprint(&other.pin, fingerprint);
    fprintf(stderr, "dhole: paired with %s (%s)\n", other.name, fingerprint);
    return DHOLE_OK;
}

static dhole_err pair(const struct options *o, const dhole_identity *identity, const char *name,
                      struct dhole__worker *worker)
{
    const char *address = worker != NULL ? dhole__worker_address(worker) : o->address;
    char token[token_size] = "";
    dhole_err err = dhole__keys_check_trust();

    if (err == DHOLE_OK)
        err = read_token(o->token, token);
    if (err == DHOLE_OK)
        err = pair_with(token, identity, name, address);
    dhole__wipe(token, sizeof token);
    return err == DHOLE_OK && worker != NULL ? dhole__worker_reload(worker) : err;
}

static int fail(dhole_err err)
{
    int number;

    if (err == DHOLE_ERR_CANCELLED)
        while ((number = dhole__signals_next()) != 0)
            if (number == SIGINT || number == SIGTERM) {
                fprintf(stderr, "dhole: interrupted\n");
                return DHOLE__EXIT_SIGNAL + number;
            }
    return dhole__report(err);
}

/* Listens before it pairs, so that the token is not spent on a worker that cannot start. */
static int run_as(const struct options *o, const dhole_identity *identity, const char *name)
{
    struct dhole__worker_options options = {.identity = identity,
                                            .name = name,
                                            .listen = o->listen,
                                            .model = o->model,
                                            .devices = o->devices,
                                            .threads = (int)o->threads,
                                            .hide = o->hide};
    struct dhole__worker *worker = NULL;
    dhole_err err = DHOLE_OK;
    int code = DHOLE__EXIT_DONE;

    if (o->listen != NULL)
        code = dhole__worker_open(&options, &worker);
    if (code == DHOLE__EXIT_DONE && o->token != NULL)
        err = pair(o, identity, name, worker);
    if (err)
        code = fail(err);
    else if (code == DHOLE__EXIT_DONE && worker != NULL)
        code = dhole__worker_run(worker, o->once);
    dhole__worker_free(worker);
    return code;
}

static int run(const struct options *o)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    char host[DHOLE_NAME_SIZE];
    dhole_identity *identity;
    dhole_err err;
    int code;

    dhole__keys_choose(o->identity, o->trust);
    setenv("DHOLE_LOG", "info", 0); /* a worker says what it does and for whom */
    err = dhole__signals_collect(signals, sizeof signals / sizeof signals[0]);
    if (err == DHOLE_OK)
        err = dhole_identity_load(NULL, &identity);
    if (err)
        return dhole__report(err);
    dhole__host_name(host);
    code = run_as(o, identity, o->name != NULL ? o->name : host);
    dhole_identity_free(identity);
    return code;
}

static int join(int argc, char **argv)
{
    struct options options;
    int code = parse(argc, argv, &options);

    if (code != DHOLE__EXIT_DONE)
        return code;
    return options.help ? dhole__help_on(&dhole__cmd_join) : run(&options);
}

const struct dhole__subcommand dhole__cmd_join = {
    .name = "join",
    .summary = "pairs with another machine, or works for those that this one trusts",
    .help =
        "Usage: dhole join TOKEN|- [--name NAME] [--address HOST:PORT]\n"
        "       dhole join [TOKEN|-] --listen HOST:PORT [--model FILE] [OPTIONS]\n"
        "\n"
        "With a TOKEN that `dhole pair` printed on another machine: both trust each other from "
        "now\n"
        "on. With --listen: works for the machines that this one trusts, one request at a time,\n"
        "until it is told to stop. `dhole generate --peers` sends such requests. With - the token\n"
        "is a line of stdin, where other users of this machine can't see it.\n"
        "\n"
        "  --listen HOST:PORT  where to listen, port 0 for a free one; 127.0.0.1:7777 is this\n"
        "                      machine alone, 0.0.0.0:7777 every network that it is on\n"
        "  --address HOST:PORT where this machine's worker listens that runs already, as a "
        "service:\n"
        "                      the other machine calls it there; of 0.0.0.0:7777 it takes the "
        "port,\n"
        "                      and the address that it sees\n"
        "  --model FILE        the model to work on, the same file as the coordinator's\n"
        "  --devices A,B       this machine's RDMA devices for requests with --backend jaccl "
        "(default:\n"
        "                      all that can be used)\n"
        "  --name NAME         what this machine is called (default: the host's name)\n"
        "  --threads N         threads of a request (default: what the request says, or all)\n"
        "  --identity WHERE    this machine's key (default: $DHOLE_IDENTITY, or as dhole id)\n"
        "  --trust FILE        whom it trusts (default: $DHOLE_TRUST, or as dhole trust)\n"
        "  --hide              do not announce the worker on the local network\n"
        "  --once              end after one request\n"
        "\n"
        "SIGHUP reads the trust file again, SIGTERM and Ctrl-C stop the worker and fail its\n"
        "request on all ranks.\n"
        "\n"
        "Examples:\n"
        "  dhole join TOKEN --listen 0.0.0.0:7777 --model smol.gguf\n"
        "  dhole join --listen 10.0.0.2:7777 --model smol.gguf\n"
        "  dhole join TOKEN --address 0.0.0.0:7777\n",
    .run = join,
};
