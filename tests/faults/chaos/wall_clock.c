/* The wall clock of one process, moved by the nanoseconds that the file CHAOS_CLOCK holds at this moment.

   Preloaded (`LD_PRELOAD`) into the service by tests/faults/chaos/clock.py. Only the wall clock moves: the monotonic
   clock, that of the boot, time-outs and the times of files stay as they are, as when an administrator sets the clock.
   libfaketime would do as well, but with an undisturbed monotonic clock its `clock_nanosleep` refuses to sleep. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NANOSECONDS 1000000000LL

static const volatile int64_t *moved;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("CHAOS_CLOCK");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) moved = page;
}

int clock_gettime(clockid_t clock, struct timespec *result) {
    if (real_clock_gettime == NULL) begin();
    int code = real_clock_gettime(clock, result);
    if (code != 0 || moved == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return code;
    int64_t nanoseconds = result->tv_sec * NANOSECONDS + result->tv_nsec + *moved;
    result->tv_sec = nanoseconds / NANOSECONDS;
    result->tv_nsec = nanoseconds % NANOSECONDS;
    return 0;
}

int gettimeofday(struct timeval *restrict result, void *restrict zone) {
    (void)zone;
    struct timespec exact;
    int code = clock_gettime(CLOCK_REALTIME, &exact);
    if (code != 0 || result == NULL) return code;
    result->tv_sec = exact.tv_sec;
    result->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (result != NULL) *result = exact.tv_sec;
    return exact.tv_sec;
}
