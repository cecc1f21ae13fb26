/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The packets that the zygote and the launchers exchange with the runner, and the declarations
 * that the files of this program share. Only system calls belong in them: they read no file of
 * hookd's and have no policy.
 */
#pragma once
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The packets on both sockets (SOCK_SEQPACKET). hookd/runner/launch/abi.py declares the same for
 * Python, and tests/runner/test_abi.py compares the two. Every change to a packet must change
 * PACKETS too. The runner passes its value of PACKETS as the only argument. */
#define PACKETS "1"
#define MAX_TEXTS 65536 /* bytes in a packet: one larger than the socket's buffer is never sent */
#define MAX_LARGE (8 << 20) /* bytes in a memfd: more than execve(2) ever takes */
#define MAX_FDS 4

struct fork_order { /* to the zygote, with the launcher's end of a socket pair */
    uint32_t uid, gid;
    uint32_t confine; /* 1: its processes may signal only each other */
    uint32_t count;   /* of the groups that follow, in ascending order */
    uint32_t groups[];
};

struct fork_answer { /* with a pidfd, or with pid 0 and an errno */
    int32_t pid, error;
};

struct run_order { /* to a launcher, with descriptors for the program's 0, 1 and 2 */
    uint32_t umask, argc, envc;
    uint32_t length; /* of the texts: the program's path, directory, arguments and environment, */
    char texts[];    /* each ended by NUL; they follow, or are in a memfd, the fourth descriptor */
};

enum { NO_DIRECTORY, NOT_SPAWNED, STARTED, ENDED, EMPTY }; /* the kinds of report */

struct report { /* from a launcher, one or two in a packet */
    uint32_t kind;
    uint32_t left;  /* 1: processes of the run are left */
    int32_t pid;    /* of the program */
    int32_t status; /* from wait4(2), or an errno */
    int64_t realtime_ns, monotonic_ns;
    int64_t cpu_usec; /* of all processes that were reaped */
    int64_t peak_kib; /* of the largest one; 0: none was larger than the launcher itself */
};

enum { SOCKET, SIGNALS }; /* descriptors of every process here, besides stderr */

extern union packet { /* the packet that was received last */
    struct fork_order fork;
    struct run_order run;
    char bytes[sizeof(struct run_order) + MAX_TEXTS];
} packet;

/* channel.c */
ssize_t receive(int fds[MAX_FDS], int *count);
void complain(const char *what, int error);
_Noreturn void die(const char *what, int error);
void block_signals(int every_byte);
void forget_signals(void);

/* inherited.c */
void remember_inherited(void);
const char *changed(void);

/* launcher.c */
_Noreturn void launch(int sock);
