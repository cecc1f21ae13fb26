/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The functions that the zygote and the launchers share: receive packets, and receive signals
 * through a descriptor.
 */
#include "launcher.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

union packet packet;

void complain(const char *what, int error)
{
    dprintf(STDERR_FILENO, "hookd-runner: launcher %d: %s%s%s\n", (int)getpid(), what,
            error ? ": " : "", error ? strerror(error) : "");
}

void die(const char *what, int error)
{
    complain(what, error);
    _exit(1);
}

/* Read the next packet into `packet` and its *count descriptors into `fds`. Return its length, 0
 * if the peer is gone, and -1 if the packet has no data, is larger than permitted, or has more
 * descriptors than fit. */
ssize_t receive(int fds[MAX_FDS], int *count)
{
    union {
        char space[CMSG_SPACE(MAX_FDS * sizeof(int))];
        struct cmsghdr aligned;
    } control;
    struct iovec data = {&packet, sizeof packet};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    ssize_t length = recvmsg(SOCKET, &message, MSG_CMSG_CLOEXEC);
    *count = 0;
    if (length < 0)
        return 0;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        *count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(header), (size_t)*count * sizeof(int));
    }
    if (length == 0)
        return *count ? -1 : 0;
    return message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -1 : length;
}

/* Set which signals are blocked: `every_byte` fills the set. The C library's function is not used,
 * because it never blocks the two signals that the library needs. */
void block_signals(int every_byte)
{
    unsigned char set[_NSIG / 8];
    memset(set, every_byte, sizeof set);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, set, NULL, sizeof set);
}

void forget_signals(void)
{
    struct signalfd_siginfo info;
    while (read(SIGNALS, &info, sizeof info) > 0)
        ;
}
