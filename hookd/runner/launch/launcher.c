/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A launcher: the process between the runner and a hook.
 *
 * The zygote forks launchers. The runner sets the limits of each from outside (nice, rlimits, a
 * control group). Then the launcher changes to the user of a hook and becomes the reaper of its
 * runs' processes. It gets orders for one run at a time. A program that it starts has the user and
 * the limits before its first instruction, so a run costs one vfork of a small process. Every
 * process of a run stays below its launcher, even after setsid(2) or a double fork: when wait4(2)
 * returns ECHILD, nothing of the run is left. The launcher allocates no memory for a run, unless
 * the run has very many arguments and variables.
 *
 * A hook has the same user as its launcher, so it may change the launcher's limits and scheduling,
 * stop it and kill it. Before each run, the launcher compares what the run would inherit with what
 * the runner has set (inherited.c). If anything differs, it exits and leaves the order unread. The
 * runner's end of the socket then reports ECONNRESET (unix(7)): nothing was started, and another
 * launcher can be given the order.
 *
 * A malformed packet ends the launcher that reads it. When the runner is gone, a launcher kills
 * all processes that it has started and exits.
 */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GATHER_MSEC = 5 }; /* how long the report of a start may wait for that of its end */
enum { WORDS = 1024 };    /* a run with at most so many needs no memory of its own */
#define SCOPE_SIGNAL 2    /* landlock(7), Linux 6.12 */

static struct report unsent[2];
static size_t waiting;               /* number of reports in `unsent` */
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
    send(SOCKET, unsent, waiting * sizeof *unsent, MSG_NOSIGNAL); /* errors show elsewhere */
    waiting = 0;
}

static void fail(uint32_t kind)
{
    failure.happened = true;
    failure.kind = kind;
    failure.error = errno;
    _exit(127);
}

/* Start a program in a session of its own. If its directory or file is on a disk that hangs, only
 * this process waits, until the runner kills it. Return the PID, or 0 if the start failed. */
static pid_t start(char **words, const int fds[3])
{
    char *path = words[0], *directory = words[1];
    char **argv = words + 2, **envp = argv + packet.run.argc + 1;
    failure.happened = false;
    struct report *started = note(STARTED, 0, 0, false); /* has the time of the start */
    pid_t pid = vfork();
    if (pid == 0) {
        setsid();
        umask(packet.run.umask);
        if (chdir(directory) < 0)
            fail(NO_DIRECTORY);
        for (int number = 0; number < 3; number++) /* all of fds[] are above 2 */
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

/* Split texts into words, with a null pointer after the arguments and after the environment. Die
 * if their number is not the one in the order. */
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

/* Carry out the order in `packet`. Return the PID, or 0 if the start failed. */
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

/* Reap every process that has ended. If `main` is one of them, set *ended and *status. Return
 * whether any process is left. */
static bool reap(pid_t main, bool *ended, int *status)
{
    struct rusage own, usage;
    int code;
    pid_t pid;
    getrusage(RUSAGE_SELF, &own); /* a process starts with the peak of its parent */
    while ((pid = wait4(-1, &code, WNOHANG, &usage)) > 0) {
        cpu_usec += (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000) +
                    usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
        if (usage.ru_maxrss > own.ru_maxrss && usage.ru_maxrss > peak_kib)
            peak_kib = usage.ru_maxrss;
        if (pid == main) {
            *ended = true;
            *status = code;
        }
    }
    return pid == 0;
}

/* Reap until nothing of the run is left. Return false if the runner is gone. If a run ends at
 * once, its start and its end are reported together, which halves the packets and the wakeups of
 * the runner. */
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
            return false; /* the runner sends nothing during a run, so it is gone */
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

/* Kill children until none is left that may be killed. The children of a killed process become
 * children of this one. */
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
            alive |= kill(pid, SIGKILL) == 0; /* the service manager kills set-user-ID programs */
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
            die(what, 0); /* leaves the order unread */
        received = receive(fds, &count);
        if (received == 0)
            return;
        cpu_usec = peak_kib = 0;
        pid_t pid = obey(received, fds, count);
        if (pid && !attend(pid))
            return;
    }
}

/* Permit this process and its children to signal only each other. This is permanent. Without
 * privileges, landlock(7) requires no_new_privs, so set-user-ID programs gain no rights. */
static void confine_signals(void)
{
    uint64_t attributes[] = {0, 0, SCOPE_SIGNAL};
    int rules = (int)syscall(SYS_landlock_create_ruleset, attributes, sizeof attributes, 0);
    if (rules < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_landlock_restrict_self, rules, 0) < 0)
        die("landlock", errno);
    close(rules);
}

/* Change to the user of the hook, refuse ptrace(2), and become the reaper of orphans. */
static void become(const struct fork_order *whom)
{
    static gid_t groups[MAX_TEXTS / sizeof(gid_t)];
    int count = getgroups((int)(sizeof groups / sizeof *groups), groups);
    bool same = count == (int)whom->count &&
                !memcmp(groups, whom->groups, whom->count * sizeof *groups);
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

/* Be a launcher from the fork to the exit. The first packet says that the limits are set. The
 * launcher keeps its privileges until then, because setting the limits may need them. */
void launch(int sock)
{
    char limits_are_set;
    setsid();
    prctl(PR_SET_NAME, "hookd-launcher", 0, 0, 0);
    if (dup2(sock, SOCKET) < 0 || close(sock) < 0)
        die("its socket", errno);
    if (read(SOCKET, &limits_are_set, 1) == 1) {
        become(&packet.fork);
        remember_inherited();
        serve();
        kill_children();
    }
    _exit(0);
}
