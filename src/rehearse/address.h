/* address: where the server is. */
#ifndef USHER_REHEARSE_ADDRESS_H
#define USHER_REHEARSE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum { ADDRESS_HOST_MAX = 256, ADDRESS_MESSAGE_SIZE = 512 };

struct address {
    char host[ADDRESS_HOST_MAX]; /* as the Host header says it, with the port unless it is 80 */
    char name[ADDRESS_HOST_MAX]; /* without the port and without brackets */
    char port[8];
    char prefix[ADDRESS_HOST_MAX]; /* in front of every path; "" or "/shop", no slash at its end */
    struct sockaddr_storage socket;
    socklen_t socket_length;
};

/* Reads http://HOST[:PORT][/PREFIX]. False with a sentence in message. */
bool address_parse(const char *url, struct address *address, char message[static ADDRESS_MESSAGE_SIZE])
    __attribute__((warn_unused_result));
/* Finds an address of the host that takes connections. False with a sentence in message. */
bool address_find(struct address *address, char message[static ADDRESS_MESSAGE_SIZE])
    __attribute__((warn_unused_result));

#endif
