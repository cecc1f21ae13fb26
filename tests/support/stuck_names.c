// SPDX-License-Identifier: LGPL-2.1-or-later
// A name service that does not answer for the users and groups "stuck" while the file $STUCK is
// there: loaded before the C library, see ld.so(8).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void wait_for(const char *name) {
    const char *file = getenv("STUCK");

    while (file && strcmp(name, "stuck") == 0 && access(file, F_OK) == 0)
        usleep(20000);
}

int getpwnam_r(const char *name, struct passwd *entry, char *buffer, size_t size,
               struct passwd **result) {
    int (*real)(const char *, struct passwd *, char *, size_t, struct passwd **) =
        dlsym(RTLD_NEXT, "getpwnam_r");

    wait_for(name);
    return real(name, entry, buffer, size, result);
}

int getgrnam_r(const char *name, struct group *entry, char *buffer, size_t size,
               struct group **result) {
    int (*real)(const char *, struct group *, char *, size_t, struct group **) =
        dlsym(RTLD_NEXT, "getgrnam_r");

    wait_for(name);
    return real(name, entry, buffer, size, result);
}
