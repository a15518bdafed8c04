/* locks: clients that hold seats or charge wallets under one way of locking, and what came of it.
 *
 * One line on standard output: done refused errors seconds p50 p99, counts and microseconds. A client's try ends when
 * it is done or refused; an optimistic conflict is tried three times, a lock in Redis that somebody else has is waited
 * for by a charge (up to 50 ms) and refuses a hold at once. */
#include <errno.h>
#include <getopt.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BUCKETS = 512, PER_OCTAVE = 16, ATTEMPTS = 3, CLIENTS_MAX = 256, LEASE_MS = 3000, WAIT_US = 50000, AMOUNT = 1 };

enum front { FRONT_NONE, FRONT_LOCK, FRONT_DOORMAN };

static const struct way {
    const char *name, *hold, *charge;
    enum front front;
} ways[] = {
    {"none", "hold_bare", "charge_bare", FRONT_NONE},  {"version", "hold_version", "charge_version", FRONT_NONE},
    {"row", "hold_row", "charge_row", FRONT_NONE},     {"advisory", "hold_advisory", "charge_advisory", FRONT_NONE},
    {"redis", "hold_bare", "charge_bare", FRONT_LOCK}, {"doorman", "hold_unique", NULL, FRONT_DOORMAN},
};

struct settings {
    const char *database, *redis;
    const struct way *way;
    bool hold;
    int clients, seconds;
    int64_t things, hold_ms;
};

/* One client's results, in memory shared with the parent. */
struct tally {
    int64_t done, refused, errors;
    int64_t bucket[BUCKETS]; /* of latency, PER_OCTAVE to a factor of two */
};

struct client {
    const struct settings *settings;
    struct tally *tally;
    PGconn *pg;
    redisContext *redis;
    int64_t number;
    uint64_t random;
};

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "locks: %s: %s\n", what, why);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static uint64_t next_random(struct client *client)
{
    client->random ^= client->random << 13;
    client->random ^= client->random >> 7;
    client->random ^= client->random << 17;
    return client->random;
}

static void pause_us(int64_t us)
{
    struct timespec t = {.tv_nsec = us * 1000};
    nanosleep(&t, NULL);
}

/* ---- the lock in Redis ---- */

static bool take_lock(struct client *client, int64_t thing, int64_t lease_ms)
{
    redisReply *reply = redisCommand(client->redis, "SET lock:%lld %lld NX PX %lld", (long long)thing,
                                     (long long)client->number, (long long)lease_ms);
    if (!reply)
        fail("redis", client->redis->errstr);
    bool ours = reply->type == REDIS_REPLY_STATUS;
    freeReplyObject(reply);
    return ours;
}

static bool wait_for_lock(struct client *client, int64_t thing)
{
    int64_t until = now_us() + WAIT_US;
    while (!take_lock(client, thing, LEASE_MS)) {
        if (client->settings->hold || now_us() > until)
            return false;
        pause_us(500 + (int64_t)(next_random(client) % 1000));
    }
    return true;
}

static void give_lock(struct client *client, int64_t thing)
{
    static const char script[] =
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
    redisReply *reply =
        redisCommand(client->redis, "EVAL %s 1 lock:%lld %lld", script, (long long)thing, (long long)client->number);
    freeReplyObject(reply);
}

/* ---- one try ---- */

enum answer { DONE = 1, REFUSED = 0, CONFLICT = -1, FAILED = -2 };

static enum answer ask(struct client *client, int64_t thing)
{
    const struct settings *settings = client->settings;
    char text[3][24];
    const char *values[] = {text[0], text[1], text[2]};
    snprintf(text[0], sizeof text[0], "%" PRId64, thing);
    snprintf(text[1], sizeof text[1], "%" PRId64, settings->hold ? client->number : AMOUNT);
    snprintf(text[2], sizeof text[2], "%" PRId64, settings->hold_ms);
    PGresult *result = PQexecPrepared(client->pg, "try", 3, values, NULL, NULL, 0);
    enum answer answer = FAILED;
    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        answer = (enum answer)strtol(PQgetvalue(result, 0, 0), NULL, 10);
    else
        fprintf(stderr, "locks: %s", PQerrorMessage(client->pg));
    PQclear(result);
    return answer;
}

static enum answer ask_again(struct client *client, int64_t thing)
{
    enum answer answer = CONFLICT;
    for (int i = 0; i < ATTEMPTS && answer == CONFLICT; i++) {
        if (i > 0)
            pause_us(200 + (int64_t)(next_random(client) % 800));
        answer = ask(client, thing);
    }
    return answer;
}

static enum answer try_once(struct client *client, int64_t thing)
{
    enum front front = client->settings->way->front;
    if (front == FRONT_DOORMAN && !take_lock(client, thing, client->settings->hold_ms))
        return REFUSED;
    if (front == FRONT_LOCK && !wait_for_lock(client, thing))
        return REFUSED;
    enum answer answer = ask_again(client, thing);
    if (front == FRONT_LOCK)
        give_lock(client, thing);
    return answer;
}

static void count(struct tally *tally, enum answer answer, int64_t us)
{
    int bucket = us > 0 ? (int)(log2((double)us) * PER_OCTAVE) : 0;
    tally->bucket[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    if (answer == DONE)
        tally->done++;
    else if (answer == FAILED)
        tally->errors++;
    else
        tally->refused++;
}

/* ---- clients ---- */

static void open_stores(struct client *client)
{
    const struct settings *settings = client->settings;
    char sql[128];
    client->pg = PQconnectdb(settings->database);
    if (PQstatus(client->pg) != CONNECTION_OK)
        fail("database", PQerrorMessage(client->pg));
    snprintf(sql, sizeof sql, "SELECT locks.%s($1, $2, $3)",
             settings->hold ? settings->way->hold : settings->way->charge);
    PGresult *result = PQprepare(client->pg, "try", sql, 0, NULL);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        fail(sql, PQerrorMessage(client->pg));
    PQclear(result);
    client->redis = redisConnectUnix(settings->redis);
    if (!client->redis || client->redis->err)
        fail(settings->redis, "cannot connect");
}

static void run_client(const struct settings *settings, struct tally *tally, int number, int64_t start)
{
    struct client client = {.settings = settings, .tally = tally, .number = number + 1};
    client.random = UINT64_C(0x9E3779B97F4A7C15) * (uint64_t)(number + 1);
    open_stores(&client);
    while (now_us() < start)
        pause_us(1000);
    int64_t end = start + (int64_t)settings->seconds * 1000000;
    for (int64_t before = now_us(); before < end;) {
        enum answer answer = try_once(&client, 1 + (int64_t)(next_random(&client) % (uint64_t)settings->things));
        int64_t after = now_us();
        count(tally, answer, after - before);
        before = after;
    }
    PQfinish(client.pg);
    redisFree(client.redis);
}

static double percentile(const struct tally *sum, double share)
{
    int64_t all = 0, seen = 0;
    for (int i = 0; i < BUCKETS; i++)
        all += sum->bucket[i];
    for (int i = 0; i < BUCKETS; i++) {
        seen += sum->bucket[i];
        if ((double)seen >= share * (double)all)
            return exp2((i + 1.0) / PER_OCTAVE);
    }
    return 0;
}

static void report(const struct settings *settings, const struct tally *tallies)
{
    struct tally sum = {.done = 0};
    for (int c = 0; c < settings->clients; c++) {
        sum.done += tallies[c].done;
        sum.refused += tallies[c].refused;
        sum.errors += tallies[c].errors;
        for (int i = 0; i < BUCKETS; i++)
            sum.bucket[i] += tallies[c].bucket[i];
    }
    printf("%" PRId64 " %" PRId64 " %" PRId64 " %d %.0f %.0f\n", sum.done, sum.refused, sum.errors, settings->seconds,
           percentile(&sum, 0.5), percentile(&sum, 0.99));
}

static bool read_settings(int argc, char **argv, struct settings *settings)
{
    static const char letters[] = "d:r:w:o:c:t:n:m:";
    const char *operation = "";
    for (int option; (option = getopt(argc, argv, letters)) != -1;) {
        if (option == 'd')
            settings->database = optarg;
        else if (option == 'r')
            settings->redis = optarg;
        else if (option == 'o')
            operation = optarg;
        else if (option == 'c')
            settings->clients = (int)strtol(optarg, NULL, 10);
        else if (option == 't')
            settings->seconds = (int)strtol(optarg, NULL, 10);
        else if (option == 'n')
            settings->things = strtoll(optarg, NULL, 10);
        else if (option == 'm')
            settings->hold_ms = strtoll(optarg, NULL, 10);
        for (size_t i = 0; option == 'w' && i < sizeof ways / sizeof *ways; i++) {
            if (strcmp(ways[i].name, optarg) == 0)
                settings->way = &ways[i];
        }
    }
    settings->hold = strcmp(operation, "hold") == 0;
    return settings->database && settings->redis && settings->way && settings->clients > 0 &&
           settings->clients <= CLIENTS_MAX && settings->seconds > 0 && settings->things > 0 &&
           (settings->hold || (strcmp(operation, "charge") == 0 && settings->way->charge));
}

int main(int argc, char **argv)
{
    struct settings settings = {.clients = 16, .seconds = 5, .things = 100000, .hold_ms = 20};
    if (!read_settings(argc, argv, &settings)) {
        fputs("Usage: locks -d DATABASE -r REDIS-SOCKET -o hold|charge -w none|version|row|advisory|redis|doorman\n"
              "             [-c CLIENTS] [-t SECONDS] [-n SEATS-OR-WALLETS] [-m HOLD-MS]\n",
              stderr);
        return 64;
    }
    size_t size = (size_t)settings.clients * sizeof(struct tally);
    struct tally *tallies = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tallies == MAP_FAILED)
        fail("memory", strerror(errno));
    int64_t start = now_us() + 500000;
    for (int c = 0; c < settings.clients; c++) {
        pid_t child = fork();
        if (child < 0)
            fail("fork", strerror(errno));
        if (child == 0) {
            run_client(&settings, &tallies[c], c, start);
            return 0;
        }
    }
    int status, failed = 0;
    while (wait(&status) > 0)
        failed += status != 0;
    if (failed)
        return 1;
    report(&settings, tallies);
    return 0;
}
