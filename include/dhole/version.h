/* Which version this is. */
#ifndef DHOLE_VERSION_H
#define DHOLE_VERSION_H

#ifdef __cplusplus
extern "C" {
#endif

#define DHOLE_VERSION_MAJOR 0
#define DHOLE_VERSION_MINOR 1
#define DHOLE_VERSION_PATCH 0

/* The version of the library that runs, such as "0.1.0"; the macros are that of the
 * headers. Never NULL. */
const char *dhole_version(void);

#ifdef __cplusplus
}
#endif
#endif
