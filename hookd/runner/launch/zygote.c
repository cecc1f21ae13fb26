/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The zygote: the runner starts this program once, and it forks the launchers.
 *
 * It answers every packet, even a malformed one, and exits when the runner is gone. If hooks run
 * as the runner's own user, they may change the zygote as they may change a launcher. It then
 * exits and leaves the packet unread, and the runner starts another zygote.
 */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Reap launchers. Kill a launcher that is stopped: only its hook can have stopped it, and the time
 * limit of a run must not depend on that. waitid(2) does not show a launcher that an administrator
 * traces (ptrace(2)). */
static void look_after_launchers(void)
{
    siginfo_t info;
    forget_signals();
    for (;;) {
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG) < 0 || info.si_pid == 0)
            return;
        if (info.si_code == CLD_STOPPED)
            kill(info.si_pid, SIGKILL);
    }
}

static void answer(pid_t pid, int error)
{
    struct fork_answer words = {pid, error};
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct iovec data = {&words, sizeof words};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    int pidfd = pid ? (int)syscall(SYS_pidfd_open, pid, 0) : -1; /* not reaped yet */
    if (pidfd >= 0) {
        memcpy(CMSG_DATA(&control.header), &pidfd, sizeof pidfd);
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
    } else if (pid) {
        words = (struct fork_answer){0, errno};
        kill(pid, SIGKILL);
    }
    sendmsg(SOCKET, &message, MSG_NOSIGNAL);
    if (pidfd >= 0)
        close(pidfd);
}

/* Fork the launcher that `packet` asks for, and answer. */
static void make_launcher(ssize_t received, const int fds[MAX_FDS], int count)
{
    const struct fork_order *order = &packet.fork;
    if (received < (ssize_t)sizeof *order || count != 1 || order->confine > 1 ||
        (size_t)received != sizeof *order + (size_t)order->count * sizeof *order->groups) {
        answer(0, EINVAL);
    } else {
        pid_t pid = fork();
        if (pid == 0)
            launch(fds[0]);
        answer(pid < 0 ? 0 : pid, pid < 0 ? errno : 0);
    }
    for (int i = 0; i < count; i++)
        close(fds[i]);
}

/* Reset the signals that the runner's parent may have set to be ignored (signal(7)). */
static void default_signals(void)
{
    char action[64] = {0}; /* larger than the kernel's struct sigaction, whose zeros are SIG_DFL */
    for (int number = 1; number < _NSIG; number++)
        syscall(SYS_rt_sigaction, number, action, NULL, (size_t)_NSIG / 8);
}

int main(int argc, char **argv)
{
    struct pollfd ready[] = {{SOCKET, POLLIN, 0}, {SIGNALS, POLLIN, 0}};
    int fds[MAX_FDS], count;
    ssize_t received;
    sigset_t child_ends;
    if (argc != 2 || strcmp(argv[1], PACKETS) != 0)
        die("it is of another version than its runner", 0);
    prctl(PR_SET_NAME, "hookd-zygote", 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    default_signals();
    block_signals(0xff);
    sigemptyset(&child_ends);
    sigaddset(&child_ends, SIGCHLD);
    int signals = signalfd(-1, &child_ends, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0 || dup3(signals, SIGNALS, O_CLOEXEC) < 0)
        die("signalfd", errno);
    close(signals);
    remember_inherited();
    for (;;) {
        poll(ready, 2, -1);
        if (ready[SIGNALS].revents)
            look_after_launchers();
        if (!ready[SOCKET].revents)
            continue;
        const char *what = changed(); /* a hook of the runner's own user may change it */
        if (what)
            die(what, 0);
        received = receive(fds, &count);
        if (received == 0)
            return 0;
        make_launcher(received, fds, count);
    }
}
