/* seats: a popular place in a list, found without reading all of it. */
#include "rehearse/seats.h"

#include <math.h>
#include <string.h>

size_t seats_popular(size_t count, double share, double skew)
{
    size_t place = (size_t)((double)count * pow(share, skew));
    return place < count ? place : count - 1;
}

/* The array of seats: the last member of the object, so that its end is found from the text's end. */
static bool find_items(struct span body, struct span *items)
{
    static const char name[] = "\"items\":";
    const char *begin = memmem(body.at, body.length, name, sizeof name - 1);
    const char *end = body.at + body.length;
    if (!begin)
        return false;
    begin += sizeof name - 1;
    while (end > begin && (end[-1] == '\n' || end[-1] == ' '))
        end--;
    if (end - begin < 3 || *begin != '[' || end[-1] != '}' || end[-2] != ']')
        return false;
    *items = (struct span){begin, (size_t)(end - 1 - begin)};
    return true;
}

static bool read_seat(struct span element, struct seat_wish *wish)
{
    struct span status;
    return scan_int(element, "id", &wish->id) && scan_int(element, "price", &wish->price) && wish->id > 0 &&
           wish->price >= 0 && scan_text(element, "status", &status) && span_is(status, "available");
}

/* The comma or bracket before the element in which the byte `from` is. A quote inside a string is escaped, so that the
 * opening below is never part of one. */
static struct span from_element(struct span items, size_t from)
{
    static const char opening[] = "{\"id\":";
    for (size_t length = from + 1; length > 1; length--) {
        const char *at = memrchr(items.at, '{', length);
        if (!at)
            break;
        length = (size_t)(at - items.at) + 1;
        if (items.length - length >= sizeof opening && memcmp(at, opening, sizeof opening - 1) == 0)
            return (struct span){at - 1, items.length - (length - 2)};
    }
    return items;
}

/* From there on; *found how many. False: not a list of seats. */
static bool read_seats(struct span rest, int wanted, struct seat_wish *wishes, int *found)
{
    struct span element;
    for (*found = 0; *found < wanted && scan_next(&rest, &element); ++*found)
        if (!read_seat(element, &wishes[*found]))
            return false;
    return rest.at != NULL;
}

int seats_choose(struct span body, double share, double skew, int wanted, struct seat_wish wishes[static SEATS_MAX])
{
    struct span items;
    int found;
    if (wanted < 1 || wanted > SEATS_MAX || !find_items(body, &items))
        return -1;
    /* Elements are almost equally long, so a place among the bytes is a place among the seats. */
    size_t from = seats_popular(items.length, share, skew);
    if (!read_seats(from_element(items, from), wanted, wishes, &found))
        return -1;
    return found;
}
