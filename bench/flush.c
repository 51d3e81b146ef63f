/* Loaded into the benchmark's Postgres (LD_PRELOAD): flushes of the disk that take
 * longer, as on a disk in a network.
 *
 * How much longer is in the file DELAY_FILE, four bytes in the machine's order, in
 * microseconds. It is mapped into every process, so it can change at any time. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile uint32_t *delay_us;

__attribute__((constructor)) static void map_delay(void) {
    int file = open(DELAY_FILE, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof *delay_us, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        delay_us = mapped;
}

static int flush(long call, int file) {
    int result = syscall(call, file);
    uint32_t us = delay_us ? *delay_us : 0;
    struct timespec left = {us / 1000000, us % 1000000 * 1000};
    while (us && nanosleep(&left, &left) != 0)
        ;
    return result;
}

int fsync(int file) { return flush(SYS_fsync, file); }

int fdatasync(int file) { return flush(SYS_fdatasync, file); }
