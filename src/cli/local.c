#include "cli/local.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/hex.h"
#include "base/sys.h"

/* A listening socket on a free port of the loopback interface. */
static dhole_err listen_locally(int *fd, char *host, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;

    *fd = dhole__sys.socket(AF_INET, SOCK_STREAM, 0);
    if (*fd < 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot make a socket");
    fcntl(*fd, F_SETFD, FD_CLOEXEC);
    if (dhole__sys.bind(*fd, (struct sockaddr *)&address, length) != 0 ||
        dhole__sys.listen(*fd, dhole__rank_max) != 0 ||
        getsockname(*fd, (struct sockaddr *)&address, &length) != 0)
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot listen on 127.0.0.1");
    snprintf(host, size, "127.0.0.1:%d", ntohs(address.sin_port));
    return DHOLE_OK;
}

dhole_err dhole__local_prepare(int count, struct dhole__local *out)
{
    *out = (struct dhole__local){.count = count};
    for (int r = 0; r < count; r++) {
        out->listener[r] = -1;
        out->hosts[r] = out->host[r];
    }
    for (int r = 0; r < count; r++) {
        dhole_err err = listen_locally(&out->listener[r], out->host[r], sizeof out->host[r]);
        if (err == DHOLE_OK)
            err = dhole_identity_generate(&out->identity[r]);
        if (err)
            return err;
        dhole_identity_pin(out->identity[r], &out->pin[r]);
    }
    /* Named after rank 0's key, which is new every time and known to the ranks only, so that no
     * other process joins a group that is not sealed. */
    dhole__hex_write(out->pin[0].bytes, DHOLE_PIN_SIZE, out->session);
    return DHOLE_OK;
}

dhole_err dhole__local_devices(struct dhole__local *local, const char *backend, const char *file)
{
    bool ring = backend != NULL && strcmp(backend, "jaccl-ring") == 0;
    bool jaccl = ring || (backend != NULL && strcmp(backend, "jaccl") == 0);
    bool any = backend == NULL || strcmp(backend, "any") == 0;
    dhole_err err;

    if (file == NULL && jaccl && local->count > 1)
        return dhole__fail(DHOLE_ERR_CONFIG,
                           "--backend %s needs to know the devices: --devices FILE", backend);
    if (file == NULL)
        return DHOLE_OK;
    if (!jaccl && !any)
        return dhole__fail(DHOLE_ERR_CONFIG, "--devices is for --backend jaccl, this is %s",
                           backend);
    err = dhole__devices_read(file, ring, &local->devices);
    if (!err && local->devices.size != local->count)
        err = dhole__fail(DHOLE_ERR_CONFIG, "%s has %d rows: expected one for each of %d ranks",
                          file, local->devices.size, local->count);
    return err;
}

void dhole__local_options(const struct dhole__local *local, int rank, enum dhole__sealing sealing,
                          dhole_options *options)
{
    options->rank = rank;
    options->size = local->count;
    options->hosts = local->hosts;
    options->listen_fd = local->listener[rank];
    options->session = local->session;
    options->identity = sealing != DHOLE__SEAL_OFF ? local->identity[rank] : NULL;
    options->pins = sealing != DHOLE__SEAL_OFF ? local->pin : NULL;
    options->devices = local->devices.size > 0 ? dhole__devices_row(&local->devices, rank) : NULL;
    options->seal_rdma = sealing == DHOLE__SEAL_ON;
    options->plain_memory = sealing == DHOLE__SEAL_AUTO;
}

void dhole__local_close_rank(struct dhole__local *local, int rank)
{
    if (local->listener[rank] >= 0)
        close(local->listener[rank]);
    local->listener[rank] = -1;
    dhole_identity_free(local->identity[rank]);
    local->identity[rank] = NULL;
}

void dhole__local_close(struct dhole__local *local)
{
    for (int r = 0; r < local->count; r++)
        dhole__local_close_rank(local, r);
    dhole__devices_free(&local->devices);
}
