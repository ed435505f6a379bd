#include "cluster/host_name.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void dhole__host_name(char out[static DHOLE_NAME_SIZE])
{
    char host[256] = "";

    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0';
    host[strcspn(host, ".")] = '\0';
    snprintf(out, DHOLE_NAME_SIZE, "%.*s", DHOLE_NAME_SIZE - 1, host[0] != '\0' ? host : "dhole");
    for (char *p = out; *p != '\0'; p++)
        if (!isascii((unsigned char)*p) ||
            (!isalnum((unsigned char)*p) && strchr("_-", *p) == NULL))
            *p = '-';
}
