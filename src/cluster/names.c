/* What machines and their addresses may be called. */
#include <stdbool.h>
#include <string.h>

#include "cluster/trust.h"
#include "transport/tcp/tcp.h"

enum { quoted_size = 80 };

/* Not isalnum, whose answer depends on the locale. */
static bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

/* They come from peers too, and the sentences end on terminals and in logs. */
static const char *quotable(const char *text, char out[static quoted_size])
{
    size_t i;

    for (i = 0; i < quoted_size - 1 && text[i] != '\0'; i++)
        out[i] = (char)(text[i] >= ' ' && text[i] <= '~' ? text[i] : '?');
    out[i] = '\0';
    return out;
}

dhole_err dhole__check_name(const char *name)
{
    char quoted[quoted_size];
    size_t length = 0;

    while (length < DHOLE_NAME_SIZE && is_name_character(name[length]))
        length++;
    if (length > 0 && length < DHOLE_NAME_SIZE && name[length] == '\0' && strcmp(name, ".") != 0 &&
        strcmp(name, "..") != 0)
        return DHOLE_OK;
    return dhole__fail(DHOLE_ERR_INVALID,
                       "\"%s\" is no name for a machine: expected 1 to %d of the characters A-Z "
                       "a-z 0-9 . _ -",
                       quotable(name, quoted), DHOLE_NAME_SIZE - 1);
}

dhole_err dhole__check_address(const char *address)
{
    char quoted[quoted_size];
    size_t length = 0;

    while (length < DHOLE_ADDRESS_SIZE && address[length] > ' ' && address[length] <= '~' &&
           strchr("#,\"\\", address[length]) == NULL)
        length++;
    if (length < DHOLE_ADDRESS_SIZE && address[length] == '\0' &&
        (length == 0 || dhole__tcp_is_address(address)))
        return DHOLE_OK;
    return dhole__fail(DHOLE_ERR_INVALID,
                       "\"%s\" is no address: expected host:port or [ipv6]:port, at most %d "
                       "characters",
                       quotable(address, quoted), DHOLE_ADDRESS_SIZE - 1);
}
