/* timers: the heap. */
#include "rehearse/timers.h"

#include "base/log.h"

#include <stdlib.h>

static void put(struct timers *timers, size_t place, struct timer *timer)
{
    timers->heap[place] = timer;
    timer->place = place;
}

static void rise(struct timers *timers, size_t place, struct timer *timer)
{
    for (; place > 1 && timers->heap[place / 2]->due > timer->due; place /= 2)
        put(timers, place, timers->heap[place / 2]);
    put(timers, place, timer);
}

static void sink(struct timers *timers, size_t place, struct timer *timer)
{
    for (size_t child; (child = 2 * place) <= timers->count; place = child) {
        if (child < timers->count && timers->heap[child + 1]->due < timers->heap[child]->due)
            child++;
        if (timers->heap[child]->due >= timer->due)
            break;
        put(timers, place, timers->heap[child]);
    }
    put(timers, place, timer);
}

static void grow(struct timers *timers)
{
    if (timers->count + 1 < timers->capacity)
        return;
    timers->capacity = timers->capacity ? 2 * timers->capacity : 1024;
    timers->heap = reallocarray(timers->heap, timers->capacity, sizeof(struct timer *));
    if (!timers->heap) {
        log_error("out of memory");
        abort();
    }
}

void timers_free(struct timers *timers)
{
    free(timers->heap);
    *timers = (struct timers){.heap = NULL};
}

void timers_set(struct timers *timers, struct timer *timer, int64_t due)
{
    timers_drop(timers, timer);
    grow(timers);
    timer->due = due;
    rise(timers, ++timers->count, timer);
}

void timers_drop(struct timers *timers, struct timer *timer)
{
    size_t place = timer->place;
    if (place == 0)
        return;
    timer->place = 0;
    struct timer *last = timers->heap[timers->count--];
    if (last == timer)
        return;
    if (place > 1 && timers->heap[place / 2]->due > last->due)
        rise(timers, place, last);
    else
        sink(timers, place, last);
}

int64_t timers_run(struct timers *timers, int64_t now)
{
    int64_t late = timers->count > 0 && timers->heap[1]->due <= now ? now - timers->heap[1]->due : -1;
    while (timers->count > 0 && timers->heap[1]->due <= now) {
        struct timer *timer = timers->heap[1];
        timers_drop(timers, timer);
        timer->fire(timer);
    }
    return late;
}

int64_t timers_next(const struct timers *timers)
{
    return timers->count > 0 ? timers->heap[1]->due : INT64_MAX;
}
