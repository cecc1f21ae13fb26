/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a run inherits from its launcher, and whether another process has changed it.
 *
 * A process may change attributes of every other process of its user with prlimit(2),
 * setpriority(2), sched_setattr(2), sched_setaffinity(2), ioprio_set(2), KEYCTL_SESSION_TO_PARENT
 * in keyctl(2), and as root with some files of proc(5). The launcher can only compare these
 * attributes and not restore them: without privileges, a hard limit that was lowered cannot be
 * raised. Attributes that only the process itself can change (working directory, umask,
 * environment, descriptors, personality, securebits) are not compared, because a launcher changes
 * none of them. The runner takes care of the control group.
 */
#include "launcher.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CPU_MSEC = 500 };   /* CPU time that a launcher may use of a limit that its runs inherit */
#define GET_KEYRING_ID 0   /* keyctl(2) */
#define SESSION_KEYRING -3

struct inherited {
    struct rlimit limits[RLIM_NLIMITS];
    unsigned char scheduling[128];  /* policy, priority, nice: struct sched_attr */
    unsigned long cpus[128];
    long io_priority, timer_slack, keyring;
    char oom_score[16], dumped[16]; /* only hooks of root may change these */
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
    if (geteuid() == 0) { /* others cannot read these: not dumpable */
        read_text("/proc/self/oom_score_adj", now->oom_score, sizeof now->oom_score);
        read_text("/proc/self/coredump_filter", now->dumped, sizeof now->dumped);
    }
}

/* Remember what the runner has set and what was inherited from it. */
void remember_inherited(void)
{
    look(&given);
}

/* Return in words what has changed since remember_inherited(), or NULL if nothing has. */
const char *changed(void)
{
    static struct inherited now;
    struct timespec used;
    look(&now);
    if (memcmp(now.limits, given.limits, sizeof now.limits) != 0)
        return "its limits were changed";
    if (memcmp(&now, &given, sizeof now) != 0)
        return "its scheduling or keyring was changed";
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    if (given.limits[RLIMIT_CPU].rlim_max != RLIM_INFINITY &&
        used.tv_sec * 1000 + used.tv_nsec / 1000000 >= CPU_MSEC)
        return "it has used much of the CPU time that it may";
    return NULL;
}
