/*
 * Kore's API, on Callsign. The source of a WebSocket application for Kore compiles with
 * `cc -shared -fPIC -I plugin-api/include app.c -o app.so`. The library is a plugin; no library is linked.
 *
 * This file declares and documents the names that applications use; callsign/ implements them. http.h has the API for
 * requests. examples/kore/README.md lists intended differences from Kore.
 *
 * Call all functions on the worker thread, in handlers, timers and hooks. kore_log, kore_time_ms and the functions for
 * memory, buffers and strings may be called on any thread.
 */
#ifndef CALLSIGN_KORE_H
#define CALLSIGN_KORE_H

/* Kore's build defines it too. For strict -std=c99, include this file before the system's headers. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif

/* Applications rely on what Kore's header includes. */
#include <sys/param.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/un.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <errno.h>
#include <limits.h>
#include <regex.h>
#include <signal.h>
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

/* Message kinds. An onmessage handler gets TEXT, which is valid UTF-8, or BINARY. */
#define WEBSOCKET_OP_CONT 0x00
#define WEBSOCKET_OP_TEXT 0x01
#define WEBSOCKET_OP_BINARY 0x02
#define WEBSOCKET_OP_CLOSE 0x08
#define WEBSOCKET_OP_PING 0x09
#define WEBSOCKET_OP_PONG 0x0a

/* Scopes of a broadcast: the clients of this worker, the clients of all workers. */
#define WEBSOCKET_BROADCAST_LOCAL 1
#define WEBSOCKET_BROADCAST_GLOBAL 2

/* For kore_timer_add: the timer fires once. */
#define KORE_TIMER_ONESHOT 0x01

/* Argument of the `onload` function. */
#define KORE_MODULE_LOAD 1
#define KORE_MODULE_UNLOAD 2

/*
 * Worker messages. Applications use ids above KORE_MSG_APP_BASE; ids 1 to 13 are Kore's own and cannot be registered.
 * `dst` is the id of a worker, or KORE_MSG_WORKER_ALL for all workers including the sender. A message to KORE_MSG_PARENT,
 * such as KORE_MSG_SHUTDOWN, is dropped and logged.
 */
#define KORE_MSG_SHUTDOWN 4
#define KORE_MSG_APP_BASE 200
#define KORE_MSG_PARENT 1000
#define KORE_MSG_WORKER_ALL 1001

/*
 * One WebSocket connection, valid from its onconnect until its ondisconnect returns. The layout is that of the host.
 */
struct connection {
	/* Owned by the application. If not NULL, passed to kore_free after ondisconnect. */
	void *hdlr_extra;
	/* Read only. Never reused; 0 while this is the `owner` of a request that is not a connection yet. */
	uint64_t callsign_id;
	/* Reserved for Callsign. */
	uintptr_t callsign_tag;
};

/* Defined by Callsign; http.h has its functions. */
struct http_request;

/* The callbacks of a WebSocket in versions of Kore before 3. Each may be NULL, but not `static`. */
struct kore_wscbs {
	void (*connect)(struct connection *);
	void (*message)(struct connection *, u_int8_t, void *, size_t);
	void (*disconnect)(struct connection *);
};

/* This worker. */
struct kore_worker {
	/* Counted from 1. */
	u_int16_t id;
	u_int16_t cpu;
	pid_t pid;
};

/* A worker message. */
struct kore_msg {
	u_int8_t id;
	u_int16_t src;
	u_int16_t dst;
	size_t length;
};

/* A timer, valid until kore_timer_remove; a KORE_TIMER_ONESHOT timer only until it has fired. */
struct kore_timer {
	u_int64_t nextrun;
	u_int64_t interval;
	int flags;
	void *arg;
	void (*cb)(void *, u_int64_t);
	uint64_t callsign_id;
};

/* A growing byte buffer: `offset` bytes are used, `length` bytes are allocated. */
struct kore_buf {
	u_int8_t *data;
	int flags;
	size_t length;
	size_t offset;
};

/* Set before any function of the application is called. */
extern struct kore_worker *worker;
extern u_int8_t worker_count;

/*
 * Optional hooks that an application may define.
 *
 * kore_parent_configure is called with 0 and no arguments in each worker when the library is loaded, before `onload`;
 * like `onload`, also in the probe, a process that loads the library as a trial. It is not called in the parent, because
 * no plugin code runs there: memory that it maps, and files and sockets that it opens, are not shared with other workers.
 * kore_worker_configure is called once in each worker when the library is loaded, after `onload`. kore_worker_teardown is
 * called when the worker shuts down, or when a new generation of the plugin has replaced this one.
 *
 * The other hooks are never called. The log says so when a library that defines one is loaded.
 */
void kore_parent_configure(int argc, char **argv) __attribute__((weak));
void kore_worker_configure(void) __attribute__((weak));
void kore_worker_teardown(void) __attribute__((weak));
void kore_parent_daemonized(void) __attribute__((weak));
void kore_parent_teardown(void) __attribute__((weak));
void kore_worker_signal(int number) __attribute__((weak));
void kore_seccomp_hook(void) __attribute__((weak));

/*
 * State over a reload, which Kore does not have. By default a connection with hdlr_extra gets ondisconnect of the old
 * generation, then onconnect of the new one, and stays open. With -DCALLSIGN_STATE_VERSION=N, where N is not 0 and the
 * same in both generations, hdlr_extra is kept unchanged. With the functions below, it is carried over as bytes.
 *
 * callsign_save passes the bytes of c->hdlr_extra to callsign_keep and returns KORE_RESULT_OK; KORE_RESULT_ERROR rejects
 * the reload. callsign_restore sets c->hdlr_extra from the bytes; `version` is the state version of the generation that
 * saved them. The other two functions do the same for state that belongs to no connection.
 */
int callsign_save(struct connection *c) __attribute__((weak));
int callsign_restore(struct connection *c, uint32_t version, const void *state, size_t length)
    __attribute__((weak));
int callsign_save_plugin(void) __attribute__((weak));
int callsign_restore_plugin(uint32_t version, const void *state, size_t length) __attribute__((weak));
static inline int callsign_keep(const void *state, size_t length);

/*
 * WebSockets. The host searches a handler name in this library, then in the other plugins; NULL ignores the event. If a
 * handler does not exist, the client gets a 500. The send functions copy `data`; what a callback sends is written when the
 * callback has returned, or when more than the server's `high_water` waits for the client.
 *
 * A NUL follows the data of a message in an onmessage handler and in a receiver of worker messages: text can be used as a
 * C string. A handler may change the message in place, and write to data[len].
 */
static inline void kore_websocket_handshake(struct http_request *req, const char *onconnect,
    const char *onmessage, const char *ondisconnect);
/* The same with the names of the functions in `callbacks`: called as kore_websocket_handshake(req, &callbacks). */
static inline void callsign_kore_handshake(struct http_request *req, const struct kore_wscbs *callbacks);
/* Sends to one client. With CLOSE, `data` is empty, or the code in two bytes, high byte first, then the reason. */
static inline void kore_websocket_send(struct connection *c, u_int8_t op, const void *data, size_t len);
/* Sends to all clients of the scope except `c`, which may be NULL. */
static inline void kore_websocket_broadcast(struct connection *c, u_int8_t op, const void *data, size_t len,
    int scope);
/* Closes the connection with 1000. The client still receives messages that were sent before. */
static inline void kore_connection_disconnect(struct connection *c);
/* The client's address without the port, valid until the next call. Also works for a request's owner. */
static inline const char *kore_connection_ip(struct connection *c);
#define KORE_CONNECTION_IP(c) kore_connection_ip(c)

/* Calls `cb` with `arg` and the current time after `interval` milliseconds, and after each further interval. */
static inline struct kore_timer *kore_timer_add(void (*cb)(void *, u_int64_t), u_int64_t interval, void *arg,
    int flags);
static inline void kore_timer_remove(struct kore_timer *timer);

/* Worker messages. An empty message has NULL as data. */
static inline int kore_msg_register(u_int8_t id, void (*cb)(struct kore_msg *, const void *));
static inline void kore_msg_unregister(u_int8_t id);
static inline void kore_msg_send(u_int16_t dst, u_int8_t id, const void *data, size_t len);

/* Writes to the server's log; priorities are those of syslog(3). */
static inline void kore_log(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Logs the message and aborts this worker; the parent starts another. */
static inline void fatal(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
#define fatalx fatal

/* Has no effect: the server has parsed the command line. */
static inline void kore_default_getopt(int argc, char **argv);

/* Milliseconds of a monotonic clock. */
static inline u_int64_t kore_time_ms(void);

/* Memory. The functions never return NULL; they call fatal instead. */
static inline void *kore_malloc(size_t len);
static inline void *kore_calloc(size_t count, size_t len);
static inline void *kore_realloc(void *ptr, size_t len);
static inline void kore_free(void *ptr);
static inline char *kore_strdup(const char *text);
/* The name in versions of Kore before 3. */
#define kore_mem_free kore_free

static inline struct kore_buf *kore_buf_alloc(size_t initial);
/* The name in versions of Kore before 3. */
#define kore_buf_create kore_buf_alloc
static inline void kore_buf_init(struct kore_buf *buf, size_t initial);
static inline void kore_buf_append(struct kore_buf *buf, const void *data, size_t len);
static inline void kore_buf_appendv(struct kore_buf *buf, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
static inline void kore_buf_appendf(struct kore_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Appends a NUL and returns the text, which the buffer owns. `len` may be NULL; it does not count the NUL. */
static inline char *kore_buf_stringify(struct kore_buf *buf, size_t *len);
/* Frees the buffer and returns its data; free the data with kore_free. */
static inline u_int8_t *kore_buf_release(struct kore_buf *buf, size_t *len);
static inline void kore_buf_replace_string(struct kore_buf *buf, const char *wanted, const void *with, size_t len);
static inline void kore_buf_reset(struct kore_buf *buf);
/* Frees the data of a buffer from kore_buf_init. kore_buf_free frees a buffer of either kind. */
static inline void kore_buf_cleanup(struct kore_buf *buf);
static void kore_buf_free(struct kore_buf *buf) __attribute__((noinline, unused));

/* Parse the complete text as a number; `err` is a KORE_RESULT. */
static inline long long kore_strtonum(const char *text, int base, long long min, long long max, int *err);
static inline u_int64_t kore_strtonum64(const char *text, int is_signed, int *err);
static inline double kore_strtodouble(const char *text, long double min, long double max, int *err);
/* Splits the text in place at any of `delimiters`, into at most `count` - 1 nonempty pieces and a NULL. */
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
