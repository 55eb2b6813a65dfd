/* A library of C as C libraries are: pointers for results, lengths of several types, callbacks with and without a pointer. */
#ifndef CTOOLS_H
#define CTOOLS_H
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum ct_mode { CT_FAST = 3, CT_SAFE = 9 };
typedef struct ct_list { long long *items; size_t used; void (*watch)(void *user, long long item); void *user; } ct_list;

static int ct_open(ct_list **list) { *list = (ct_list *)calloc(1, sizeof **list); return *list ? 0 : ENOMEM; }
static void ct_close(ct_list *list) { free(list->items); free(list); }
static int ct_append(ct_list *list, const long long *items, unsigned char count) {
    long long *grown = (long long *)realloc(list->items, (list->used + count + 1) * sizeof *grown);
    if (!grown) return ENOMEM;
    memcpy(grown + list->used, items, count * sizeof *grown);
    list->items = grown;
    list->used += count;
    if (list->watch) for (unsigned char i = 0; i < count; ++i) list->watch(list->user, items[i]);
    return 0;
}
static int ct_copy(const ct_list *list, long long *items, unsigned *count) {
    if (*count < list->used) { *count = (unsigned)list->used; return ERANGE; }
    memcpy(items, list->items, list->used * sizeof *items);
    *count = (unsigned)list->used;
    return 0;
}
static size_t ct_size(const ct_list *list) { return list->used; }
static void ct_watch(ct_list *list, void (*watch)(void *user, long long item), void *user) { list->watch = watch; list->user = user; }
static int ct_limits(const ct_list *list, long long *least, unsigned short *greatest) {
    if (!list->used) return EDOM;
    *least = list->items[0];
    *greatest = 0;
    for (size_t i = 0; i < list->used; ++i) {
        if (list->items[i] < *least) *least = list->items[i];
        if (list->items[i] > *greatest) *greatest = (unsigned short)list->items[i];
    }
    return 0;
}
static int ct_each(const ct_list *list, int (*visit)(long long item, void *user), void *user) {
    for (size_t i = 0; i < list->used; ++i) { int stop = visit(list->items[i], user); if (stop) return stop; }
    return 0;
}
static long long ct_fold(const ct_list *list, long long (*join)(long long, long long)) {
    long long total = 0;
    for (size_t i = 0; i < list->used; ++i) total = join(total, list->items[i]);
    return total;
}
static const char *ct_mode_name(enum ct_mode mode) { return mode == CT_SAFE ? "safe" : "fast"; }
static enum ct_mode ct_other(enum ct_mode mode) { return mode == CT_SAFE ? CT_FAST : CT_SAFE; }
static void ct_next(unsigned char *value) { ++*value; }
static void ct_norm(const float v[3], float *length2) { *length2 = v[0] * v[0] + v[1] * v[1] + v[2] * v[2]; }
static void ct_host(char *name, size_t size) { strncpy(name, "host", size); }
static unsigned char ct_tiny(unsigned char value) { return value; }
static void *ct_address(void *value) { return value; }
#endif
