/* page_cache: rendered pages in Redis that expire, are prolonged by hits, and are filled by one caller at a time.
 *
 * A page is fresh for concert_cache_ttl; a hit in its second half prolongs that, up to concert_cache_max from its
 * creation. After that one caller renders it anew while the others get the old copy, for at most a minute; and so does
 * that caller, when PostgreSQL is away. An operator's change evicts all pages at once. */
#ifndef USHER_SALE_PAGE_CACHE_H
#define USHER_SALE_PAGE_CACHE_H

#include "base/buf.h"
#include "sale/sale.h"

struct page {
    const char *text;
    size_t length;
};

/* Renders the page from the truth. *lasting is true; a page that is not worth keeping sets it to false. */
typedef enum error page_render(struct sale *sale, struct arena *arena, const void *what, struct buf *out,
                               bool *lasting);

/* Passes the gate and reads the page, in one round trip; renders it when there is none. key NULL: this page is not
 * cached. The gate's errors, or render's. */
enum error page_cache_get(struct sale *sale, struct arena *arena, const struct pass *pass, const char *key,
                          page_render *render, const void *what, struct page *page, struct refusal *refusal) MUST_CHECK;

/* Throws all pages away; whoever is rendering just now will not store what was read before this. */
enum error page_cache_evict(struct sale *sale, struct arena *arena) MUST_CHECK;

#endif
