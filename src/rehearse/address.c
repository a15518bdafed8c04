/* address: a URL taken apart, and the first of the host's addresses that answers. */
#include "rehearse/address.h"

#include "base/encode.h"

#include <errno.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool copy(char *to, size_t size, const char *from, size_t length)
{
    if (length >= size)
        return false;
    memcpy(to, from, length);
    to[length] = '\0';
    return true;
}

/* host, host:port, [v6], [v6]:port */
static bool split_host(struct address *address, const char *text, size_t length)
{
    const char *end = text + length, *name = text, *name_end, *port = "80";
    size_t port_length = 2;
    int64_t number;
    if (length > 0 && *text == '[') {
        name = text + 1;
        name_end = memchr(text, ']', length);
        if (!name_end)
            return false;
        text = name_end + 1;
    } else {
        const char *colon = memchr(text, ':', length);
        text = name_end = colon ? colon : end;
    }
    if (text < end) {
        if (*text != ':')
            return false;
        port = text + 1;
        port_length = (size_t)(end - port);
    }
    return name_end > name && decimal_parse(port, port_length, 1, 65535, &number) &&
           copy(address->name, sizeof address->name, name, (size_t)(name_end - name)) &&
           copy(address->port, sizeof address->port, port, port_length);
}

bool address_parse(const char *url, struct address *address, char message[static ADDRESS_MESSAGE_SIZE])
{
    static const char scheme[] = "http://";
    *address = (struct address){.port = "80"};
    if (strncmp(url, scheme, sizeof scheme - 1) != 0) {
        snprintf(
            message, ADDRESS_MESSAGE_SIZE,
            "--url wants http://HOST[:PORT], not \"%.100s\"; TLS is not spoken here, so go to the server behind it",
            url);
        return false;
    }
    const char *host = url + sizeof scheme - 1;
    size_t length = strcspn(host, "/?#");
    const char *prefix = host + length;
    size_t prefix_length = strlen(prefix);
    while (prefix_length > 0 && prefix[prefix_length - 1] == '/')
        prefix_length--;
    for (const char *c = url; *c; c++)
        if (*c <= ' ' || *c >= 0x7f || strchr("?#@\"<>\\", *c))
            length = 0;
    if (!split_host(address, host, length) || !copy(address->host, sizeof address->host, host, length) ||
        !copy(address->prefix, sizeof address->prefix, prefix, prefix_length)) {
        snprintf(message, ADDRESS_MESSAGE_SIZE, "--url: \"%.100s\" is not http://HOST[:PORT][/PREFIX]", url);
        return false;
    }
    return true;
}

static bool answers(const struct addrinfo *one)
{
    int fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool connected = connect(fd, one->ai_addr, one->ai_addrlen) == 0;
    int saved = errno;
    close(fd);
    errno = saved;
    return connected;
}

bool address_find(struct address *address, char message[static ADDRESS_MESSAGE_SIZE])
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int failed = getaddrinfo(address->name, address->port, &hints, &found);
    if (failed) {
        snprintf(message, ADDRESS_MESSAGE_SIZE, "cannot find %s: %s", address->name, gai_strerror(failed));
        return false;
    }
    for (const struct addrinfo *one = found; one && address->socket_length == 0; one = one->ai_next) {
        if (answers(one)) {
            memcpy(&address->socket, one->ai_addr, one->ai_addrlen);
            address->socket_length = one->ai_addrlen;
        }
    }
    if (address->socket_length == 0)
        snprintf(message, ADDRESS_MESSAGE_SIZE, "nobody answers at %s port %s: %s; is it running?", address->name,
                 address->port, strerror(errno));
    freeaddrinfo(found);
    return address->socket_length > 0;
}
