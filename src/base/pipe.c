#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/pipe.h"
#include "base/sys.h"

dhole_err dhole__pipe_open(int fds[static 2], int flags)
{
    if (dhole__sys.pipe(fds) != 0) {
        fds[0] = fds[1] = -1;
        return dhole__fail_errno(DHOLE_ERR_SYSTEM, "cannot make a pipe");
    }
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
        fcntl(fds[i], F_SETFL, flags);
    }
    return DHOLE_OK;
}

void dhole__pipe_close(int fds[static 2])
{
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}
