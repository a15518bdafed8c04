/* fuzz_config: the configuration file. Input: the file. What is accepted is printed, and reads the same again; what is
 * refused is explained, with the file's name. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int file;
static char path[64];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    file = memfd_create("conf", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    return file < 0;
}

static bool read_bytes(struct config *config, const void *bytes, size_t size, char *message)
{
    REQUIRE(ftruncate(file, 0) == 0 && pwrite(file, bytes, size, 0) == (ssize_t)size, "a file in memory");
    message[0] = '\0';
    config_init(config);
    return config_read_file(config, path, false, message);
}

static char *print(const struct config *config, size_t *length)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, length);
    REQUIRE(out, "memory");
    config_print(config, out, false);
    fclose(out);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config, again;
    char message[CONFIG_MESSAGE_SIZE];
    size_t length, length_again;
    if (read_bytes(&config, data, size, message)) {
        char *text = print(&config, &length);
        (void)!config_check(&config, message);
        REQUIRE(read_bytes(&again, text, length, message), message);
        char *text_again = print(&again, &length_again);
        REQUIRE(length == length_again && memcmp(text, text_again, length) == 0, "prints what it has read");
        config_free(&again);
        free(text);
        free(text_again);
    } else {
        REQUIRE(strncmp(message, path, strlen(path)) == 0 && strlen(message) > strlen(path) + 2,
                "a refusal says where");
    }
    config_free(&config);
    return 0;
}
