/* analyzer: the places at which gcc -fanalyzer (dev check --analyze) is told to look away; each says why it may. */
#ifndef USHER_BASE_ANALYZER_H
#define USHER_BASE_ANALYZER_H

/* Around a function in which gcc 12 reports a leak because it does not see where the address of the memory is kept. */
#if defined __GNUC__ && !defined __clang__
#define ANALYZER_LOSES_MEMORY_BEGIN                                                                                    \
    _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wanalyzer-malloc-leak\"")
#define ANALYZER_LOSES_MEMORY_END _Pragma("GCC diagnostic pop")
#else
#define ANALYZER_LOSES_MEMORY_BEGIN
#define ANALYZER_LOSES_MEMORY_END
#endif

#endif
