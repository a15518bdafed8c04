/* fan_shop: what a fan does once let in: looks around, holds seats, charges and pays. */
#include "rehearse/fan_steps.h"

#include "base/clock.h"

/* An empty hall is looked for in another schedule, if there is one, so often. */
enum { LOOKS_MAX = 3 };

void fan_saw_concerts(struct fan *fan, const struct answer *answer, struct span body)
{
    struct span items;
    if (!scan_member(body, "items", &items))
        fan_nonsense(fan, answer);
    else
        fan_next(fan, OP_SCHEDULES);
}

static bool wanted(const struct stage *stage, int64_t schedule)
{
    for (size_t i = 0; i < stage->venue_count; i++)
        if (stage->venues[i].schedule == schedule)
            return true;
    return false;
}

/* The schedule that the fan came for, or another wanted one of the concert if that is sold out. */
void fan_saw_schedules(struct fan *fan, const struct answer *answer, struct span body)
{
    struct span rest, item;
    int64_t id, free_seats, chosen = 0;
    if (!scan_member(body, "items", &rest)) {
        fan_nonsense(fan, answer);
        return;
    }
    while (scan_next(&rest, &item)) {
        if (!scan_int(item, "id", &id) || !scan_int(item, "seats_available", &free_seats))
            break;
        if (free_seats > 0 && wanted(fan->stage, id) && (chosen == 0 || id == fan->venue->schedule))
            chosen = id;
    }
    if (chosen == 0) {
        fan_leave(fan, OUTCOME_TOO_LATE);
        return;
    }
    fan->schedule = chosen;
    fan_next(fan, OP_SEATS);
}

void fan_saw_seats(struct fan *fan, const struct answer *answer, struct span body)
{
    const struct settings *settings = fan->stage->settings;
    int wishes = 1 + (int)chance_below(&fan->chance, settings->seats);
    int found = seats_choose(body, chance_share(&fan->chance), settings->skew, wishes, fan->wishes);
    fan->wish_count = found;
    if (found < 0)
        fan_nonsense(fan, answer);
    else if (fan->fate == FATE_LEAVES)
        fan_leave(fan, OUTCOME_LEFT);
    else if (found > 0)
        fan_next(fan, OP_HOLD);
    else if (++fan->looks < LOOKS_MAX && fan->stage->venue_count > 1)
        fan_next(fan, OP_SCHEDULES);
    else
        fan_leave(fan, OUTCOME_TOO_LATE);
}

/* The reservation is of the seats that were asked for, at the prices that were shown. */
static bool reservation_fits(const struct fan *fan, struct span body)
{
    struct span rest, ticket;
    int64_t seat, price, total = 0;
    int count = 0;
    if (!scan_member(body, "tickets", &rest))
        return false;
    while (scan_next(&rest, &ticket)) {
        int i = 0;
        if (!scan_int(ticket, "seat_id", &seat) || !scan_int(ticket, "price", &price))
            return false;
        while (i < fan->wish_count && fan->wishes[i].id != seat)
            i++;
        if (i == fan->wish_count || fan->wishes[i].price != price)
            return false;
        total += price;
        count++;
    }
    return rest.at && count == fan->wish_count && total == fan->price;
}

void fan_held(struct fan *fan, const struct answer *answer, struct span body)
{
    struct journal *journal = &fan->stage->journal;
    int64_t seconds, now = clock_monotonic();
    if (!scan_int(body, "id", &fan->reservation) || !scan_int(body, "total_price", &fan->price) ||
        !scan_int(body, "expires_in_seconds", &seconds)) {
        fan_nonsense(fan, answer);
        return;
    }
    journal->wrong_seats += !reservation_fits(fan, body);
    for (int i = 0; i < fan->wish_count; i++)
        journal_held(journal, fan->wishes[i].id, fan->reservation, fan->ask.sent + seconds * CLOCK_SECOND, now);
    if (fan->fate == FATE_NEVER_PAYS)
        fan_end(fan, OUTCOME_NOT_PAID);
    else
        fan_next(fan, fan->price > 0 ? OP_CHARGE : OP_PAY);
}

void fan_charged(struct fan *fan, const struct answer *answer, struct span body)
{
    int64_t balance, amount;
    if (!scan_int(body, "balance", &balance) || !scan_int(body, "amount", &amount)) {
        fan_nonsense(fan, answer);
        return;
    }
    if (amount != fan->price || (fan->balance_known && balance != fan->balance + amount))
        fan->stage->journal.wrong_money++;
    fan->balance = balance;
    fan->balance_known = true;
    fan_next(fan, OP_PAY);
}

void fan_has_tickets(struct fan *fan)
{
    struct stage *stage = fan->stage;
    for (int i = 0; i < fan->wish_count; i++)
        journal_paid(&stage->journal, fan->wishes[i].id, fan->reservation);
    if (stage->sold_out == 0 && stage->journal.sold >= stage->seats_offered)
        stage->sold_out = clock_monotonic();
    fan_end(fan, OUTCOME_PAID);
}

void fan_paid(struct fan *fan, const struct answer *answer, struct span body)
{
    int64_t price, balance, reservation;
    if (!scan_int(body, "price", &price) || !scan_int(body, "balance", &balance) ||
        !scan_int(body, "reservation_id", &reservation)) {
        fan_nonsense(fan, answer);
        return;
    }
    if (price != fan->price || reservation != fan->reservation ||
        (fan->balance_known && balance != fan->balance - price))
        fan->stage->journal.wrong_money++;
    fan_has_tickets(fan);
}
