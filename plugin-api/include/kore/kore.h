/*
 * Kore's API over Callsign: a source file written for a WebSocket application on Kore compiles with
 * `cc -shared -fPIC -I plugin-api/include app.c -o app.so`, and the library is a plugin. Nothing to link.
 *
 * This file has the names that an application uses, with their meanings here; how they are done is in callsign/.
 * Requests are in http.h. Where a meaning differs from Kore's on purpose: examples/kore/README.md.
 *
 * All functions are for the worker's one thread, inside of handlers, timers and hooks; kore_log, kore_time_ms and
 * everything about memory, buffers and strings is for any thread.
 */
#ifndef CALLSIGN_KORE_H
#define CALLSIGN_KORE_H

/* As Kore's own build does; good for strict -std=c99 if this comes before the system's headers. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif

#include <sys/param.h>
#include <sys/queue.h>
#include <sys/time.h>
#include <sys/types.h>

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#if defined(__cplusplus)
extern "C" {
#endif

#define KORE_RESULT_ERROR 0
#define KORE_RESULT_OK 1

#define errno_s strerror(errno)

/* Which kind a message is. An onmessage handler is given TEXT, which is valid UTF-8, or BINARY. */
#define WEBSOCKET_OP_CONT 0x00
#define WEBSOCKET_OP_TEXT 0x01
#define WEBSOCKET_OP_BINARY 0x02
#define WEBSOCKET_OP_CLOSE 0x08
#define WEBSOCKET_OP_PING 0x09
#define WEBSOCKET_OP_PONG 0x0a

/* How far a broadcast goes: the clients of this worker, those of all workers. */
#define WEBSOCKET_BROADCAST_LOCAL 1
#define WEBSOCKET_BROADCAST_GLOBAL 2

/* For kore_timer_add: once, and not again and again. */
#define KORE_TIMER_ONESHOT 0x01

/* What the `onload` function is told. */
#define KORE_MODULE_LOAD 1
#define KORE_MODULE_UNLOAD 2

/* Message ids above APP_BASE are the application's; `dst` is a worker's id, or all of them, the sender too.
 * The parent is none: what is sent to it, such as SHUTDOWN, is only a line of the log. */
#define KORE_MSG_SHUTDOWN 4
#define KORE_MSG_APP_BASE 200
#define KORE_MSG_PARENT 1000
#define KORE_MSG_WORKER_ALL 1001

/*
 * One WebSocket client, from its onconnect until its ondisconnect returns. Its layout is the host's.
 */
struct connection {
	/* The application's own. What it points to is given to kore_free after ondisconnect, if it is not NULL. */
	void *hdlr_extra;
	/* Read only. Never used twice; 0 as long as it is a request's `owner` and no connection. */
	uint64_t callsign_id;
	/* Not the application's. */
	uintptr_t callsign_tag;
};

/* What the request in http.h is. */
struct http_request;

/* This worker. */
struct kore_worker {
	/* From 1. */
	u_int16_t id;
	u_int16_t cpu;
	pid_t pid;
};

/* A message from a worker. */
struct kore_msg {
	u_int8_t id;
	u_int16_t src;
	u_int16_t dst;
	size_t length;
};

/* A timer, valid until kore_timer_remove, or until a KORE_TIMER_ONESHOT has fired. */
struct kore_timer {
	u_int64_t nextrun;
	u_int64_t interval;
	int flags;
	void *arg;
	void (*cb)(void *, u_int64_t);
	uint64_t callsign_id;
};

/* Bytes that grow: `offset` are used, `length` are there. */
struct kore_buf {
	u_int8_t *data;
	int flags;
	size_t length;
	size_t offset;
};

/* Set before anything of the application is called. */
extern struct kore_worker *worker;
extern u_int8_t worker_count;

/*
 * What an application may define; each may be absent.
 *
 * kore_worker_configure is called once in each worker, when the library is loaded and after `onload`;
 * kore_worker_teardown when the worker ends in good order, or another copy of the library has taken over.
 */
void kore_worker_configure(void) __attribute__((weak));
void kore_worker_teardown(void) __attribute__((weak));

/*
 * State over a reload, which Kore does not have. Without any of it a live connection sees ondisconnect by the old
 * code and onconnect by the new, and stays open. With -DCALLSIGN_STATE_VERSION=N, N not 0 and the same in both, its
 * hdlr_extra is carried over as it is. With these functions it crosses as data:
 *
 * callsign_save gives the bytes that stand for c->hdlr_extra to callsign_keep and answers KORE_RESULT_OK;
 * KORE_RESULT_ERROR refuses the reload. callsign_restore sets c->hdlr_extra from them, with the state version of the
 * code that has saved them. The other two do the same for what is not any connection's.
 */
int callsign_save(struct connection *c) __attribute__((weak));
int callsign_restore(struct connection *c, uint32_t version, const void *state, size_t length)
    __attribute__((weak));
int callsign_save_plugin(void) __attribute__((weak));
int callsign_restore_plugin(uint32_t version, const void *state, size_t length) __attribute__((weak));
static inline int callsign_keep(const void *state, size_t length);

/*
 * WebSockets. The names are looked up in this library, then in the others that are loaded; NULL: that event is
 * ignored. A name that is not there is a 500 to this client. `data` is copied.
 */
static inline void kore_websocket_handshake(struct http_request *req, const char *onconnect,
    const char *onmessage, const char *ondisconnect);
/* To one client. With CLOSE, `data` is the code in two bytes, high byte first, and the reason; or nothing. */
static inline void kore_websocket_send(struct connection *c, u_int8_t op, const void *data, size_t len);
/* To all clients of the scope but `c`, which may be NULL. */
static inline void kore_websocket_broadcast(struct connection *c, u_int8_t op, const void *data, size_t len,
    int scope);
/* Closes it, with 1000. What was sent before still arrives. */
static inline void kore_connection_disconnect(struct connection *c);
/* The client's address without its port, until the next call; works for a request's owner as well. */
#define KORE_CONNECTION_IP(c) callsign_kore_address(c)

/* Calls `cb` with `arg` and the time after `interval` milliseconds, and after each further interval. */
static inline struct kore_timer *kore_timer_add(void (*cb)(void *, u_int64_t), u_int64_t interval, void *arg,
    int flags);
static inline void kore_timer_remove(struct kore_timer *timer);

/* Messages between workers. The data is NULL if there is none. */
static inline int kore_msg_register(u_int8_t id, void (*cb)(struct kore_msg *, const void *));
static inline void kore_msg_unregister(u_int8_t id);
static inline void kore_msg_send(u_int16_t dst, u_int8_t id, const void *data, size_t len);

/* The server's log, with the priorities of syslog(3). */
static inline void kore_log(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Ends this worker, with a report; another one starts. */
static inline void fatal(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
#define fatalx fatal

/* Milliseconds of a clock that never goes back. */
static inline u_int64_t kore_time_ms(void);

/* Memory; never NULL. */
static inline void *kore_malloc(size_t len);
static inline void *kore_calloc(size_t count, size_t len);
static inline void *kore_realloc(void *ptr, size_t len);
static inline void kore_free(void *ptr);
static inline char *kore_strdup(const char *text);

static inline struct kore_buf *kore_buf_alloc(size_t initial);
static inline void kore_buf_init(struct kore_buf *buf, size_t initial);
static inline void kore_buf_append(struct kore_buf *buf, const void *data, size_t len);
static inline void kore_buf_appendv(struct kore_buf *buf, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
static inline void kore_buf_appendf(struct kore_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Appends a NUL and answers the text, which is the buffer's. `len` may be NULL; it does not count the NUL. */
static inline char *kore_buf_stringify(struct kore_buf *buf, size_t *len);
/* Frees the buffer and answers its data, for kore_free. */
static inline u_int8_t *kore_buf_release(struct kore_buf *buf, size_t *len);
static inline void kore_buf_replace_string(struct kore_buf *buf, const char *wanted, const void *with, size_t len);
static inline void kore_buf_reset(struct kore_buf *buf);
/* Of one that kore_buf_init has made; kore_buf_free of either. */
static inline void kore_buf_cleanup(struct kore_buf *buf);
static void kore_buf_free(struct kore_buf *buf) __attribute__((noinline, unused));

/* Numbers, all of the text or none; `err` is a KORE_RESULT. */
static inline long long kore_strtonum(const char *text, int base, long long min, long long max, int *err);
static inline u_int64_t kore_strtonum64(const char *text, int is_signed, int *err);
static inline double kore_strtodouble(const char *text, long double min, long double max, int *err);
/* Cuts the text at any of `delimiters`, in place; at most `count` - 1 pieces that are not empty, and a NULL. */
static inline int kore_split_string(char *text, const char *delimiters, char **pieces, size_t count);
static inline size_t kore_strlcpy(char *to, const char *from, size_t size);
static inline void *kore_mem_find(void *data, size_t length, const void *wanted, size_t wanted_length);

#include "callsign/abi.h"
#include "callsign/memory.h"
#include "callsign/runtime.h"
#include "callsign/messages.h"

#if defined(__cplusplus)
}
#endif

#endif
