#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cli/doctor.h"

enum { lock_enough = 64 << 20 };

static const char devices_dir[] = "/sys/class/infiniband";

/* CAP_IPC_LOCK lifts the limit. */
static bool may_lock_all(void)
{
    enum { ipc_lock = 14 };
    char line[256];
    unsigned long long effective = 0;
    FILE *status = fopen("/proc/self/status", "re");

    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, "CapEff:", 7) == 0)
            effective = strtoull(line + 7, NULL, 16);
    if (status != NULL)
        fclose(status);
    return effective >> ipc_lock & 1;
}

static void examine_lock(struct dhole__doctor *d)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0)
        return;
    if (limit.rlim_cur == RLIM_INFINITY || may_lock_all())
        dhole__doctor_say(d, DHOLE__FINDING_OK, "memlock", NULL, NULL,
                          "memory may be locked for devices without limit");
    else if (limit.rlim_cur >= lock_enough)
        dhole__doctor_say(d, DHOLE__FINDING_OK, "memlock", NULL, NULL,
                          "%llu MiB of memory may be locked for devices",
                          (unsigned long long)limit.rlim_cur >> 20);
    else
        dhole__doctor_say(d, DHOLE__FINDING_NOTE, "memlock", NULL,
                          "echo '* - memlock unlimited' >/etc/security/limits.d/rdma.conf; log in "
                          "again",
                          "only %llu KiB of memory may be locked for devices: RDMA is slower with "
                          "little, and fails with less",
                          (unsigned long long)limit.rlim_cur >> 10);
}

/* Whether the kernel has a device, whatever the library sees. */
static bool has_kernel_device(void)
{
    DIR *dir = opendir(devices_dir);
    const struct dirent *entry;
    bool found = false;

    while (dir != NULL && !found && (entry = readdir(dir)) != NULL)
        found = entry->d_name[0] != '.';
    if (dir != NULL)
        closedir(dir);
    return found;
}

void dhole__doctor_system(struct dhole__doctor *d, int devices)
{
    if (devices > 0)
        examine_lock(d);
    else if (devices == 0 && has_kernel_device())
        dhole__doctor_say(d, dhole__doctor_without_rdma(d), "device", NULL,
                          "apt-get install ibverbs-providers; modprobe ib_uverbs; ls -l "
                          "/dev/infiniband",
                          "the kernel has RDMA devices that the library cannot use");
    else if (devices == 0)
        dhole__doctor_say(
            d, dhole__doctor_without_rdma(d), "device", NULL,
            "with a card for it: modprobe ib_uverbs; without: modprobe rdma_rxe; rdma "
            "link add rxe0 type rxe netdev eth0",
            "this machine has no RDMA device");
}

void dhole__doctor_guess_interface(const char *device,
                                   char name[static dhole__doctor_interface_max])
{
    (void)device;
    name[0] = '\0';
}

void dhole__doctor_mend(enum dhole__mend what, const char *interface,
                        char mend[static dhole__doctor_mend_max])
{
    const char *name = *interface != '\0' ? interface : "INTERFACE";

    switch (what) {
    case DHOLE__MEND_LIBRARY:
        snprintf(mend, dhole__doctor_mend_max,
                 "apt-get install libibverbs1 ibverbs-providers (libibverbs-dev before a build)");
        break;
    case DHOLE__MEND_PORT:
        snprintf(mend, dhole__doctor_mend_max,
                 "ip link set %s up; then look at the cable and the other side", name);
        break;
    case DHOLE__MEND_ADDRESS:
        snprintf(mend, dhole__doctor_mend_max,
                 "ip address add 10.0.0.1/24 dev %s (and 10.0.0.2 on the other side)", name);
        break;
    }
}
