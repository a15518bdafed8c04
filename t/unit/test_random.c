/* random: bytes differ, jitter stays in its bounds and reaches all of them, and children do not repeat their parent. */
#include "base/random.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

Test(random, bytes_differ_and_fill_exactly)
{
    unsigned char a[34] = {0}, b[34] = {0};

    random_bytes(a + 1, 32);
    random_bytes(b + 1, 32);
    cr_assert_neq(memcmp(a, b, sizeof a), 0);
    cr_assert_eq(a[0] | a[33], 0, "nothing is written outside");
    random_bytes(a, 0);
}

Test(random, bytes_take_every_value)
{
    static unsigned char bytes[1 << 16];
    int seen[256] = {0};
    int values = 0;

    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        values += seen[bytes[i]]++ == 0;
    cr_assert_eq(values, 256);
}

Test(random, jitter_is_below_its_bound)
{
    static const uint32_t bounds[] = {1, 2, 3, 7, 1000, UINT32_C(0x80000001), UINT32_MAX};

    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++)
        for (int j = 0; j < 10000; j++)
            cr_assert_lt(random_jitter(bounds[i]), bounds[i]);
}

/* 100,000 draws from 10: each about 10,000; six standard deviations are 570. */
Test(random, jitter_is_uniform)
{
    int counts[10] = {0};

    for (int i = 0; i < 100000; i++)
        counts[random_jitter(10)]++;
    for (int i = 0; i < 10; i++)
        cr_assert(counts[i] > 9430 && counts[i] < 10570, "%d: %d times", i, counts[i]);
}

Test(random, a_child_draws_its_own_numbers)
{
    uint32_t ours[4], theirs[4];
    int pipe_fds[2];
    pid_t child;

    random_jitter(UINT32_MAX);
    cr_assert_eq(pipe(pipe_fds), 0);
    child = fork();
    for (int i = 0; i < 4; i++)
        ours[i] = random_jitter(UINT32_MAX);
    if (child == 0) {
        ssize_t written = write(pipe_fds[1], ours, sizeof ours);

        _exit(written == (ssize_t)sizeof ours ? 0 : 1);
    }
    cr_assert_eq(read(pipe_fds[0], theirs, sizeof theirs), (ssize_t)sizeof theirs);
    waitpid(child, NULL, 0);
    cr_assert_neq(memcmp(ours, theirs, sizeof ours), 0);
}
