/* rehearse/http and rehearse/address: answers in every cut, chunks, and what is not HTTP. */
#include "rehearse/address.h"
#include "rehearse/http.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct http_answer answer;

/* Feeds the text in pieces of so many bytes; how it ended, and what was left over. */
static enum http_progress feed(const char *text, size_t piece, size_t *left)
{
    size_t length = strlen(text), at = 0, used;
    enum http_progress progress = HTTP_MORE;
    http_begin(&answer);
    while (at < length && progress == HTTP_MORE) {
        progress = http_feed(&answer, text + at, length - at < piece ? length - at : piece, &used);
        at += used;
    }
    *left = length - at;
    return progress;
}

static const char plain[] = "HTTP/1.1 201 Created\r\nServer: nginx\r\nContent-Type: application/json\r\n"
                            "Content-Length: 11\r\nretry-after:  3 \r\nX: a:b\r\n\r\n{\"id\":1234}";
static const char chunked[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
                              "6;name=value\r\n, worl\r\nA\r\nd and more\r\n0\r\nTrailer: x\r\n\r\n";

static void expect_body(const char *text)
{
    cr_assert_eq(answer.length, strlen(text));
    cr_assert_arr_eq(answer.body, text, answer.length);
}

Test(rehearse_http, reads_an_answer_in_every_cut)
{
    size_t left;
    for (size_t piece = 1; piece <= sizeof plain; piece++) {
        cr_assert_eq(feed(plain, piece, &left), HTTP_DONE, "in pieces of %zu", piece);
        cr_assert_eq(left, 0);
        cr_assert_eq(answer.status, 201);
        cr_assert_eq(answer.retry_after, 3);
        cr_assert_not(answer.close);
        expect_body("{\"id\":1234}");
        http_free(&answer);
    }
}

Test(rehearse_http, reads_chunks_in_every_cut)
{
    size_t left;
    for (size_t piece = 1; piece <= sizeof chunked; piece++) {
        cr_assert_eq(feed(chunked, piece, &left), HTTP_DONE, "in pieces of %zu", piece);
        cr_assert_eq(left, 0);
        expect_body("hello, world and more");
        http_free(&answer);
    }
}

Test(rehearse_http, leaves_what_follows)
{
    size_t left;
    cr_assert_eq(feed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP", 1000, &left), HTTP_DONE);
    cr_assert_eq(left, 4);
}

Test(rehearse_http, answers_without_a_body)
{
    size_t left;
    cr_assert_eq(feed("HTTP/1.1 204 No Content\r\n\r\n", 7, &left), HTTP_DONE);
    cr_assert_eq(answer.length, 0);
    cr_assert_eq(feed("HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", 7, &left), HTTP_DONE);
    cr_assert_eq(feed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 7, &left), HTTP_DONE);
    cr_assert_eq(answer.retry_after, -1);
}

Test(rehearse_http, passes_over_100_continue)
{
    size_t left;
    cr_assert_eq(feed("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 3, &left),
                 HTTP_DONE);
    cr_assert_eq(answer.status, 200);
}

Test(rehearse_http, knows_when_the_connection_ends)
{
    size_t left;
    cr_assert_eq(feed("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 99, &left), HTTP_DONE);
    cr_assert(answer.close);
    cr_assert_eq(feed("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 99, &left), HTTP_DONE);
    cr_assert(answer.close);
    cr_assert_eq(feed("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", 99, &left), HTTP_DONE);
    cr_assert_not(answer.close);
}

Test(rehearse_http, reads_to_the_end_where_no_length_is_given)
{
    size_t left;
    cr_assert_eq(feed("HTTP/1.1 200 OK\r\n\r\nall of it", 4, &left), HTTP_MORE);
    cr_assert_eq(http_closed(&answer), HTTP_DONE);
    expect_body("all of it");
    cr_assert(answer.close);
    http_free(&answer);
}

Test(rehearse_http, an_early_end_is_bad)
{
    size_t left;
    for (size_t cut = 0; cut < sizeof plain - 1; cut++) {
        char part[sizeof plain];
        memcpy(part, plain, cut);
        part[cut] = '\0';
        cr_assert_eq(feed(part, 1000, &left), HTTP_MORE);
        cr_assert_eq(http_closed(&answer), HTTP_BAD, "cut at %zu", cut);
        http_free(&answer);
    }
}

Test(rehearse_http, refuses_what_is_not_http)
{
    static const char *const bad[] = {
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: no name\r\n\r\n",
        "HTTP/1.1 200 OK\r\nSpace : x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n123456789\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
    };
    size_t left;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (size_t piece = 1; piece < 100; piece += 49) {
            cr_assert_eq(feed(bad[i], piece, &left), HTTP_BAD, "%s", bad[i]);
            http_free(&answer);
        }
    }
}

Test(rehearse_http, limits_lines_and_headers)
{
    static char text[3 * HTTP_LINE_MAX];
    size_t left;
    int length = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nLong: ");
    memset(text + length, 'x', HTTP_LINE_MAX);
    cr_assert_eq(feed(text, 1000, &left), HTTP_BAD);
    length = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i <= HTTP_HEADERS_MAX; i++)
        length += snprintf(text + length, sizeof text - (size_t)length, "A: b\r\n");
    cr_assert_eq(feed(text, 1000, &left), HTTP_BAD);
}

/* ---- addresses ---- */

static void expect_address(const char *url, const char *name, const char *port, const char *host, const char *prefix)
{
    struct address address;
    char message[ADDRESS_MESSAGE_SIZE];
    cr_assert(address_parse(url, &address, message), "%s: %s", url, message);
    cr_assert_str_eq(address.name, name);
    cr_assert_str_eq(address.port, port);
    cr_assert_str_eq(address.host, host);
    cr_assert_str_eq(address.prefix, prefix);
}

Test(rehearse_address, takes_urls_apart)
{
    expect_address("http://localhost", "localhost", "80", "localhost", "");
    expect_address("http://127.0.0.1:8080", "127.0.0.1", "8080", "127.0.0.1:8080", "");
    expect_address("http://127.0.0.1:8080/", "127.0.0.1", "8080", "127.0.0.1:8080", "");
    expect_address("http://tickets.example/shop/", "tickets.example", "80", "tickets.example", "/shop");
    expect_address("http://[::1]:8080/a/b", "::1", "8080", "[::1]:8080", "/a/b");
    expect_address("http://[::1]", "::1", "80", "[::1]", "");
}

Test(rehearse_address, refuses_what_is_no_address)
{
    static const char *const bad[] = {
        "",
        "localhost:8080",
        "https://localhost",
        "http://",
        "http://:80",
        "http://a:",
        "http://a:0",
        "http://a:65536",
        "http://a:80x",
        "http://[::1",
        "http://[]:80",
        "http://[::1]80",
        "http://a b",
        "http://user@a",
        "http://a?x",
        "http://a/\r\nEvil: 1",
    };
    struct address address;
    char message[ADDRESS_MESSAGE_SIZE];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        *message = '\0';
        cr_assert_not(address_parse(bad[i], &address, message), "%s", bad[i]);
        cr_assert(*message);
    }
}
