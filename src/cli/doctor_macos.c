/* RDMA over Thunderbolt takes macOS 26.2, Thunderbolt 5, and rdma_ctl enable in macOS Recovery,
 * which says "enabled" on Macs with Thunderbolt 4 too, where it has no effect. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysctl.h>

#include "cli/doctor.h"

static const char no_mend[] = "none for this Mac: use --backend ring over the same cable";

/* Whether a command's output has one of the words; `ran` says whether it ended well. */
static bool says(const char *command, const char *word, const char *or_word, bool *ran)
{
    char line[512];
    bool found = false;
    FILE *out = popen(command, "r");

    *ran = false;
    if (out == NULL)
        return false;
    while (fgets(line, sizeof line, out) != NULL)
        found = found || strstr(line, word) != NULL || strstr(line, or_word) != NULL;
    *ran = pclose(out) == 0;
    return found;
}

static void examine_version(struct dhole__doctor *d)
{
    char version[32] = "";
    size_t size = sizeof version - 1;
    int major = 0, minor = 0;

    sysctlbyname("kern.osproductversion", version, &size, NULL, 0);
    if (sscanf(version, "%d.%d", &major, &minor) < 1)
        return;
    if (major > 26 || (major == 26 && minor >= 3))
        dhole__doctor_say(d, DHOLE__FINDING_OK, "macos", NULL, NULL, "macOS %s", version);
    else if (major == 26 && minor == 2)
        dhole__doctor_say(d, DHOLE__FINDING_NOTE, "macos", NULL, "softwareupdate --install --all",
                          "macOS 26.2 refuses RDMA messages over 4096 bytes; 26.3 does not");
    else
        dhole__doctor_say(d, dhole__doctor_without_rdma(d), "macos", NULL,
                          "softwareupdate --install --all",
                          "macOS %s has no RDMA over Thunderbolt: 26.2 is the first", version);
}

/* Ports of Thunderbolt 5 say so by their speed, with or without a cable. */
static void examine_thunderbolt(struct dhole__doctor *d)
{
    bool ran;
    bool five =
        says("/usr/sbin/system_profiler SPThunderboltDataType", "80 Gb/s", "120 Gb/s", &ran);

    if (five)
        dhole__doctor_say(d, DHOLE__FINDING_OK, "thunderbolt", NULL, NULL,
                          "this Mac has Thunderbolt 5");
    else if (ran)
        dhole__doctor_say(d, dhole__doctor_without_rdma(d), "thunderbolt", NULL, no_mend,
                          "no port of Thunderbolt 5 is seen: earlier ones have no RDMA");
}

static void examine_rdma_ctl(struct dhole__doctor *d)
{
    bool ran, enabled = says("/usr/bin/rdma_ctl status", "enabled", "enabled", &ran);

    if (enabled)
        dhole__doctor_say(d, DHOLE__FINDING_OK, "rdma_ctl", NULL, NULL, "RDMA is enabled");
    else
        dhole__doctor_say(d, dhole__doctor_without_rdma(d), "rdma_ctl", NULL,
                          "start into macOS Recovery, Utilities, Terminal: rdma_ctl enable; "
                          "restart",
                          "%s", ran ? "RDMA is not enabled" : "rdma_ctl status does not work here");
}

static void examine_bridge(struct dhole__doctor *d)
{
    bool ran;

    if (says("/sbin/ifconfig bridge0 2>/dev/null", "member: en", "member: en", &ran))
        dhole__doctor_say(d, DHOLE__FINDING_NOTE, "thunderbolt", "bridge0",
                          "networksetup -setnetworkserviceenabled 'Thunderbolt Bridge' off",
                          "the Thunderbolt Bridge holds the ports together: with more than one "
                          "cable, packets may loop");
}

void dhole__doctor_system(struct dhole__doctor *d, int devices)
{
    examine_version(d);
    examine_thunderbolt(d);
    examine_rdma_ctl(d);
    examine_bridge(d);
    if (devices == 0)
        dhole__doctor_say(d, dhole__doctor_without_rdma(d), "device", NULL,
                          "mend what is said of macos, thunderbolt and rdma_ctl; then: ibv_devices",
                          "this Mac shows no RDMA device");
}

/* Device rdma_en2 is interface en2. */
void dhole__doctor_guess_interface(const char *device,
                                   char name[static dhole__doctor_interface_max])
{
    static const char prefix[] = "rdma_";
    bool has = strncmp(device, prefix, sizeof prefix - 1) == 0;

    snprintf(name, dhole__doctor_interface_max, "%s", has ? device + sizeof prefix - 1 : "");
}

void dhole__doctor_mend(enum dhole__mend what, const char *interface,
                        char mend[static dhole__doctor_mend_max])
{
    const char *name = *interface != '\0' ? interface : "INTERFACE";

    switch (what) {
    case DHOLE__MEND_LIBRARY:
        snprintf(mend, dhole__doctor_mend_max, "update to macOS 26.2 or later");
        break;
    case DHOLE__MEND_PORT:
        snprintf(mend, dhole__doctor_mend_max,
                 "connect %s to a Mac on which rdma_ctl status says enabled", name);
        break;
    case DHOLE__MEND_ADDRESS:
        snprintf(mend, dhole__doctor_mend_max,
                 "ifconfig %s inet 10.0.0.1 netmask 255.255.255.0 (and 10.0.0.2 on the other side)",
                 name);
        break;
    }
}
