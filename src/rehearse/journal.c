/* journal: seats in a hash table, the line as two high-water marks. */
#include "rehearse/journal.h"

#include "base/log.h"

#include <stdbool.h>
#include <stdlib.h>

static struct journal_seat *place_of(struct journal_seat *seats, size_t capacity, int64_t seat)
{
    size_t at = (size_t)((uint64_t)seat * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (capacity - 1);
    while (seats[at].seat != 0 && seats[at].seat != seat)
        at = (at + 1) & (capacity - 1);
    return &seats[at];
}

static void grow(struct journal *journal)
{
    size_t capacity = journal->capacity ? 2 * journal->capacity : 1024;
    struct journal_seat *seats = calloc(capacity, sizeof *seats);
    if (!seats) {
        log_error("out of memory");
        abort();
    }
    for (size_t i = 0; i < journal->capacity; i++)
        if (journal->seats[i].seat)
            *place_of(seats, capacity, journal->seats[i].seat) = journal->seats[i];
    free(journal->seats);
    journal->seats = seats;
    journal->capacity = capacity;
}

static struct journal_seat *entry_of(struct journal *journal, int64_t seat)
{
    if (2 * journal->count >= journal->capacity)
        grow(journal);
    struct journal_seat *entry = place_of(journal->seats, journal->capacity, seat);
    if (entry->seat == 0) {
        entry->seat = seat;
        journal->count++;
    }
    return entry;
}

void journal_free(struct journal *journal)
{
    free(journal->seats);
    *journal = (struct journal){.seats = NULL};
}

struct journal_view journal_view(const struct journal *journal)
{
    return (struct journal_view){journal->highest_ticket, journal->highest_active};
}

void journal_ticket(struct journal *journal, const struct journal_view *view, int64_t ticket)
{
    journal->ticket_inversions += ticket <= view->highest_ticket;
    if (ticket > journal->highest_ticket)
        journal->highest_ticket = ticket;
}

void journal_waiting(struct journal *journal, const struct journal_view *view, int64_t ticket, int64_t position,
                     int64_t before)
{
    journal->overtaken += ticket < view->highest_active;
    journal->pushed_back += before > 0 && position > before;
}

void journal_active(struct journal *journal, int64_t ticket)
{
    if (ticket > journal->highest_active)
        journal->highest_active = ticket;
}

void journal_held(struct journal *journal, int64_t seat, int64_t reservation, int64_t deadline, int64_t now)
{
    struct journal_seat *entry = entry_of(journal, seat);
    bool others = entry->reservation && entry->reservation != reservation && entry->deadline > now && deadline > now;
    journal->held_twice += others || (entry->paid && entry->paid != reservation);
    entry->reservation = reservation;
    entry->deadline = deadline;
}

void journal_paid(struct journal *journal, int64_t seat, int64_t reservation)
{
    struct journal_seat *entry = entry_of(journal, seat);
    if (entry->paid == reservation)
        return;
    journal->sold_twice += entry->paid != 0;
    journal->sold += entry->paid == 0;
    entry->paid = reservation;
}

int64_t journal_breaches(const struct journal *journal)
{
    return journal->sold_twice + journal->held_twice + journal->wrong_money + journal->wrong_seats +
           journal->ticket_inversions + journal->overtaken + journal->pushed_back;
}
