/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The processes that hooks are started from: the zygote, and the launchers that it forks.
 *
 * The runner starts this program once: that process is the zygote. At the runner's word it forks
 * launchers. The runner gives each its limits from outside (nice, rlimits, a control group); then
 * the launcher takes on the user of a hook and becomes the reaper of whatever its runs leave behind.
 * Orders follow, one run at a time; what a launcher starts has all of that before its first
 * instruction. So a run costs one vfork of a small process, and every process of a run, escaped by
 * setsid(2) or a double fork or not, stays below its launcher: when wait4(2) says ECHILD, nothing of
 * the run is left. No memory is allocated for a run, save for one whose words are very many.
 *
 * A hook has the user of its launcher, so it may change the launcher's limits and scheduling, stop
 * it and kill it. Before each run the launcher compares what the run would inherit with what it was
 * given. If anything differs it exits and leaves the order unread, by which the runner knows that
 * nothing was started (unix(7): ECONNRESET), and gives the order to a new launcher.
 *
 * A malformed packet ends the launcher that reads it. A launcher without a runner kills all that it
 * has started and exits. Nothing but system calls belongs here: no files of hookd, no policy.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The packets on both sockets (SOCK_SEQPACKET). hookd/runner/abi.py has the same for Python, and
 * tests/runner/test_abi.py compares the two. A change of any of them is a change of PACKETS too: the
 * runner says its own as the one argument. */
#define PACKETS "1"
#define MAX_TEXTS 65536 /* bytes in a packet: one larger than the socket's buffer is never sent */
#define MAX_LARGE (8 << 20) /* bytes in a memfd: more than execve(2) ever takes */
#define MAX_FDS 4

struct fork_order { /* to the zygote, with the launcher's end of a socket pair; answered in order */
    uint32_t uid, gid;
    uint32_t confine; /* 1: its processes may signal none but each other */
    uint32_t count;   /* of the groups that follow, in ascending order */
    uint32_t groups[];
};

struct fork_answer { /* with a pidfd; or pid 0 and an errno */
    int32_t pid, error;
};

struct run_order { /* to a launcher, with descriptors for the program's 0, 1 and 2 */
    uint32_t umask, argc, envc;
    uint32_t length; /* of the texts: the program's path, its directory, arguments, environment, */
    char texts[];    /* each ended by NUL; they follow, or are in a fourth descriptor, a memfd */
};

enum { NO_DIRECTORY, NOT_SPAWNED, STARTED, ENDED, EMPTY }; /* what a report says */

struct report { /* from a launcher, one or two in a packet */
    uint32_t kind;
    uint32_t left;  /* 1: processes of the run are left */
    int32_t pid;    /* the program's */
    int32_t status; /* of wait4(2), or an errno */
    int64_t realtime_ns, monotonic_ns;
    int64_t cpu_usec; /* of all that was reaped */
    int64_t peak_kib; /* of the largest process */
};

enum { SOCKET, SIGNALS };  /* the descriptors that every process here has, beside stderr */
enum { GATHER_MSEC = 5 };  /* how long the word of a start may wait for the word of its end */
enum { CPU_MSEC = 500 };   /* of its own that a launcher may use of a limit that it passes on */
enum { WORDS = 1024 };     /* a run of so many needs no memory of its own */
#define SCOPE_SIGNAL 2     /* landlock(7), Linux 6.12 */
#define GET_KEYRING_ID 0   /* keyctl(2) */
#define SESSION_KEYRING -3

static union {
    struct fork_order fork;
    struct run_order run;
    char bytes[sizeof(struct run_order) + MAX_TEXTS];
} packet;

static void complain(const char *what, int error)
{
    dprintf(STDERR_FILENO, "hookd-runner: launcher %d: %s%s%s\n", (int)getpid(), what,
            error ? ": " : "", error ? strerror(error) : "");
}

static void die(const char *what, int error)
{
    complain(what, error);
    _exit(1);
}

/* Read the next packet and its descriptors, *count of them. Return its length; 0: the other side is
 * gone; -1: it is empty, or larger than any may be, or there was no room for its descriptors. */
static ssize_t receive(int fds[MAX_FDS], int *count)
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

/* Set which signals are blocked. The C library's own function leaves out the two that it uses. */
static void block_signals(int every_byte)
{
    unsigned char set[_NSIG / 8];
    memset(set, every_byte, sizeof set);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, set, NULL, sizeof set);
}

/* Undo what the runner's own surroundings let this process inherit: ignored signals (signal(7)). */
static void default_signals(void)
{
    char action[64] = {0}; /* larger than the kernel's struct sigaction, whose zeros are SIG_DFL */
    for (int number = 1; number < _NSIG; number++)
        syscall(SYS_rt_sigaction, number, action, NULL, (size_t)_NSIG / 8);
}

static void forget_signals(void)
{
    struct signalfd_siginfo info;
    while (read(SIGNALS, &info, sizeof info) > 0)
        ;
}

/* ---- what a run inherits, and nobody but the runner may change ---- */

struct inherited {
    struct rlimit limits[RLIM_NLIMITS];
    unsigned char scheduling[128];  /* policy, priority, nice: struct sched_attr */
    unsigned long cpus[128];
    long io_priority, timer_slack, keyring;
    char oom_score[16], dumped[16], group[512]; /* which root's hooks may change, and only they */
};

static struct inherited given;

static void read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, text, size - 1);
    close(fd);
    if (length < 0)
        text[0] = '?';
}

static void look(struct inherited *now)
{
    memset(now, 0, sizeof *now);
    for (int kind = 0; kind < RLIM_NLIMITS; kind++)
        getrlimit((__rlimit_resource_t)kind, &now->limits[kind]);
    syscall(SYS_sched_getattr, 0, now->scheduling, sizeof now->scheduling, 0);
    sched_getaffinity(0, sizeof now->cpus, (cpu_set_t *)now->cpus);
    now->io_priority = syscall(SYS_ioprio_get, 1 /* IOPRIO_WHO_PROCESS */, 0);
    now->timer_slack = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
    now->keyring = syscall(SYS_keyctl, GET_KEYRING_ID, SESSION_KEYRING, 0);
    if (geteuid() == 0) { /* others have no right to these, as the process is not dumpable */
        read_text("/proc/self/oom_score_adj", now->oom_score, sizeof now->oom_score);
        read_text("/proc/self/coredump_filter", now->dumped, sizeof now->dumped);
        read_text("/proc/self/cgroup", now->group, sizeof now->group);
    }
}

/* Return what of it somebody has changed, NULL where nothing was. */
static const char *changed(void)
{
    static struct inherited now;
    struct timespec used;
    look(&now);
    if (memcmp(now.limits, given.limits, sizeof now.limits) != 0)
        return "its limits were changed";
    if (memcmp(&now, &given, sizeof now) != 0)
        return "its scheduling, keyring or control group was changed";
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    if (given.limits[RLIMIT_CPU].rlim_max != RLIM_INFINITY &&
        used.tv_sec * 1000 + used.tv_nsec / 1000000 >= CPU_MSEC)
        return "it has used much of the CPU time that it may";
    return NULL;
}

/* ---- the launcher: one run after another ---- */

static struct report unsent[2];
static size_t waiting;               /* of them */
static int64_t cpu_usec, peak_kib;   /* of the run */
static volatile struct {             /* written by a child that shares this memory (vfork(2)) */
    bool happened;
    uint32_t kind;
    int error;
} failure;

static int64_t nanoseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static struct report *note(uint32_t kind, pid_t pid, int status, bool left)
{
    struct report *new = &unsent[waiting++];
    *new = (struct report){kind, left, pid, status, nanoseconds(CLOCK_REALTIME),
                           nanoseconds(CLOCK_MONOTONIC), cpu_usec, peak_kib};
    return new;
}

static void tell(void)
{
    send(SOCKET, unsent, waiting * sizeof *unsent, MSG_NOSIGNAL); /* its loss is noticed elsewhere */
    waiting = 0;
}

static void fail(uint32_t kind)
{
    failure.happened = true;
    failure.kind = kind;
    failure.error = errno;
    _exit(127);
}

/* Start a program in a session of its own; its directory and file may be on a disk that hangs, which
 * holds up this process, until the runner kills it, and no other. Return the PID, 0: it failed. */
static pid_t start(char **words, const int fds[3])
{
    char *path = words[0], *directory = words[1];
    char **argv = words + 2, **envp = argv + packet.run.argc + 1;
    failure.happened = false;
    struct report *started = note(STARTED, 0, 0, false); /* the time before its first instruction */
    pid_t pid = vfork();
    if (pid == 0) {
        setsid();
        umask(packet.run.umask);
        if (chdir(directory) < 0)
            fail(NO_DIRECTORY);
        for (int number = 0; number < 3; number++) /* the order's own are above 2 */
            if (dup2(fds[number], number) < 0)
                fail(NOT_SPAWNED);
        block_signals(0);
        execve(path, argv, envp);
        fail(NOT_SPAWNED);
    }
    started->pid = pid;
    if (pid > 0 && !failure.happened)
        return pid;
    started->kind = pid < 0 ? NOT_SPAWNED : failure.kind;
    started->status = pid < 0 ? errno : failure.error;
    started->pid = 0;
    if (pid > 0)
        waitpid(pid, NULL, 0);
    tell();
    return 0;
}

/* Split texts into words, with a null pointer after the arguments and after the environment; die
 * where they are not as many as the order says. */
static void split(char *texts, size_t length, char **words)
{
    size_t argc = packet.run.argc, total = 2 + argc + packet.run.envc, found = 0;
    for (char *text = texts, *end = texts + length; text < end; found++) {
        char *nul = memchr(text, 0, (size_t)(end - text));
        if (nul == NULL || found >= total)
            die("an order has other words than it says", 0);
        *words++ = text;
        if (found + 1 == 2 + argc)
            *words++ = NULL;
        text = nul + 1;
    }
    if (found != total || argc == 0)
        die("an order has fewer words than it says", 0);
    *words = NULL;
}

static void *map(size_t size, int fd)
{
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_PRIVATE;
    void *place = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (place == MAP_FAILED)
        die("no memory for an order", errno);
    return place;
}

/* Do what the order in `packet` says. Return the PID, 0 where it failed. */
static pid_t obey(ssize_t received, const int fds[MAX_FDS], int count)
{
    static char *room[WORDS];
    struct stat large;
    size_t inside = (size_t)received - sizeof packet.run, length = packet.run.length;
    if (received < (ssize_t)sizeof packet.run || count != (inside ? 3 : 4) || length > MAX_LARGE ||
        packet.run.argc > length || packet.run.envc > length || (inside && inside != length) ||
        (!inside && (fstat(fds[3], &large) < 0 || large.st_size != (off_t)length)))
        die("an order is malformed", 0);
    size_t words = (4 + (size_t)packet.run.argc + packet.run.envc) * sizeof(char *);
    char *texts = inside ? packet.run.texts : map(length, fds[3]);
    char **vector = words <= sizeof room ? room : map(words, -1);
    split(texts, length, vector);
    pid_t pid = start(vector, fds);
    if (vector != room)
        munmap(vector, words);
    if (!inside)
        munmap(texts, length);
    for (int i = 0; i < count; i++)
        close(fds[i]);
    return pid;
}

/* Wait for all that has ended. Return whether any process is left; *status, if it was `main`. */
static bool reap(pid_t main, bool *ended, int *status)
{
    struct rusage usage;
    int code;
    pid_t pid;
    while ((pid = wait4(-1, &code, WNOHANG, &usage)) > 0) {
        cpu_usec += (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000) +
                    usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
        if (usage.ru_maxrss > peak_kib)
            peak_kib = usage.ru_maxrss;
        if (pid == main) {
            *ended = true;
            *status = code;
        }
    }
    return pid == 0;
}

/* Reap until nothing of the run is left; false: the runner is gone. The start of a run that is over
 * at once is told together with its end: half the packets, and half the wakeups of the runner. */
static bool attend(pid_t main)
{
    struct pollfd ready[] = {{SOCKET, POLLIN, 0}, {SIGNALS, POLLIN, 0}};
    bool over = false, left = true;
    while (!over || left) {
        if (poll(ready, 2, waiting ? GATHER_MSEC : -1) == 0) {
            tell();
            continue;
        }
        if (ready[SOCKET].revents)
            return false; /* nothing is ordered during a run */
        bool ended = false;
        int status = 0;
        forget_signals();
        left = reap(main, &ended, &status);
        if (ended) {
            over = true;
            note(ENDED, main, status, left);
            tell();
        } else if (over && !left) {
            note(EMPTY, 0, 0, false);
            tell();
        }
    }
    return true;
}

/* Kill until none is left that may be killed; orphans of the killed come here in turn. */
static void kill_children(void)
{
    bool alive = true;
    while (alive) {
        int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
        ssize_t length = read(fd, packet.bytes, sizeof packet - 1);
        close(fd);
        packet.bytes[length < 0 ? 0 : length] = 0;
        alive = false;
        for (char *text = packet.bytes, *end; ; text = end) {
            pid_t pid = (pid_t)strtol(text, &end, 10);
            if (end == text)
                break;
            alive |= kill(pid, SIGKILL) == 0; /* a set-user-ID program is the service manager's */
        }
        if (alive)
            wait4(-1, NULL, 0, NULL);
        while (wait4(-1, NULL, WNOHANG, NULL) > 0)
            ;
    }
}

static void serve(void)
{
    struct pollfd order = {SOCKET, POLLIN, 0};
    int fds[MAX_FDS], count;
    for (;;) {
        const char *what;
        ssize_t received;
        poll(&order, 1, -1);
        if (order.revents & POLLIN && (what = changed()))
            die(what, 0); /* with the order unread */
        received = receive(fds, &count);
        if (received == 0)
            return;
        cpu_usec = peak_kib = 0;
        pid_t pid = obey(received, fds, count);
        if (pid && !attend(pid))
            return;
    }
}

/* Forbid this process and its children, for good, to signal any but each other: landlock(7), which
 * without privileges demands no_new_privs, so set-user-ID programs lose their power. */
static void confine_signals(void)
{
    uint64_t attributes[] = {0, 0, SCOPE_SIGNAL};
    int rules = (int)syscall(SYS_landlock_create_ruleset, attributes, sizeof attributes, 0);
    if (rules < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_landlock_restrict_self, rules, 0) < 0)
        die("landlock", errno);
    close(rules);
}

/* Take on the user, out of reach of ptrace(2), and the duty to reap. */
static void become(const struct fork_order *whom)
{
    static gid_t groups[MAX_TEXTS / sizeof(gid_t)];
    int count = getgroups((int)(sizeof groups / sizeof *groups), groups);
    bool same = count == (int)whom->count && !memcmp(groups, whom->groups, (size_t)count * sizeof *groups);
    if (!same && setgroups(whom->count, whom->groups) < 0)
        die("setgroups", errno);
    if (setresgid(whom->gid, whom->gid, whom->gid) < 0 ||
        setresuid(whom->uid, whom->uid, whom->uid) < 0)
        die("taking on its user", errno);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    if (whom->confine)
        confine_signals();
}

/* Be a launcher from the fork to the exit. The first packet says that the limits are set: that may
 * need the privileges which are given up then. */
static void launch(int sock)
{
    char limits_are_set;
    setsid();
    prctl(PR_SET_NAME, "hookd-launcher", 0, 0, 0);
    if (dup2(sock, SOCKET) < 0 || close(sock) < 0)
        die("its socket", errno);
    if (read(SOCKET, &limits_are_set, 1) == 1) {
        become(&packet.fork);
        look(&given);
        serve();
        kill_children();
    }
    _exit(0);
}

/* ---- the zygote ---- */

/* Reap launchers. One that is stopped was stopped by its hook, and goes with it: a run's time limit
 * must not depend on it. Tracing is an administrator's doing, and not seen here (ptrace(2)). */
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
    int pidfd = pid ? (int)syscall(SYS_pidfd_open, pid, 0) : -1; /* not reaped yet, so it is there */
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

/* Fork the launcher that `packet` asks for. */
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
    look(&given);
    for (;;) {
        poll(ready, 2, -1);
        if (ready[SIGNALS].revents)
            look_after_launchers();
        if (!ready[SOCKET].revents)
            continue;
        const char *what = changed(); /* by a hook of the runner's own user */
        if (what)
            die(what, 0);
        received = receive(fds, &count);
        if (received == 0)
            return 0;
        make_launcher(received, fds, count);
    }
}
