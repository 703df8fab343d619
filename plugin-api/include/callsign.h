/* callsign.h: plugins for Callsign in C99 or C++. No library is linked:
 * `cc -shared -fPIC -I DIR chat.c -o chat.so`, where DIR is the folder of this file.
 *
 * Generated from plugin-api/src/abi.rs and plugin-api/tests/header/helpers.h; edit those, then run
 * `UPDATE_HEADER=1 cargo test -p callsign-plugin --test header`. */
#ifndef CALLSIGN_H
#define CALLSIGN_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The ABI between host and plugin, and its reference manual.
 *
 * The ABI is plain C: integers, pointers with lengths, NUL-terminated strings. It is
 * append-only: a published field, function or constant keeps its position, type and meaning. New
 * fields and functions go to the end of their struct and raise CALLSIGN_ABI_MINOR. `struct_size`
 * tells a reader how much of a struct the other side has.
 *
 * Words. A worker is a process of the host that loads plugins and serves a share of the clients;
 * the probe is a process that loads a new version of a plugin as a trial and serves no clients.
 * A generation is one loaded version of a plugin. A callback is any function of the plugin that
 * the host calls. A turn of the event loop is one round in which a worker reads from all sockets
 * that are ready and runs the callbacks; it ends with writing what the callbacks have sent.
 *
 * Threads. [worker thread] is the one thread of a worker that runs all callbacks, one at a time.
 * [any thread] is any thread of the process. [pool thread] is one of the worker's background
 * threads; it runs in parallel with the worker thread and with other pool threads. A function of
 * struct callsign_host without a thread tag is [worker thread]. Called from another thread, it
 * does nothing and returns CALLSIGN_STATUS_WRONG_THREAD, NULL or 0.
 *
 * Processes. A child that a plugin forks has none of the host's sockets and must call exec or
 * _exit; the host ends it if it returns from the plugin's code. In the child,
 * callsign_host.send, callsign_host.broadcast, callsign_host.close and callsign_host.worker_send
 * return CALLSIGN_STATUS_WRONG_THREAD. When a worker ends, the host kills the worker's process
 * group; a process that has called setsid is not in it. Programs that a worker starts gain no
 * privileges: setuid programs, such as sudo, and file capabilities have no effect
 * (no_new_privs). Where the host has no worker processes (`--workers 0`), they have.
 *
 * Signals. A plugin may install handlers for SIGUSR1, SIGUSR2, SIGALRM and signals that the host
 * does not mention, in its onload hook; without one, the host logs and ignores these three. In a
 * child that a plugin forks, signals that the host handles have their default effect. SIGINT,
 * SIGTERM, SIGQUIT, SIGHUP and SIGCHLD belong to the host, and so do SIGSEGV, SIGBUS, SIGILL,
 * SIGFPE and SIGABRT, of which it reports the cause.
 *
 * Pointers. The host owns what it passes to a callback; the pointer is valid until the callback
 * returns unless stated otherwise. The host only reads what a plugin passes to a function of
 * struct callsign_host, and only before that function returns. Strings are NUL-terminated.
 * Strings that come from an HTTP request are bytes and may not be valid UTF-8.
 *
 * Invalid arguments. A function of struct callsign_host returns CALLSIGN_STATUS_BAD_ARGUMENT,
 * NULL or 0 for a connection, request or name that is NULL, unless stated otherwise, and for
 * bytes that are NULL with a length other than 0. Length 0 is allowed with any pointer. The host
 * cannot detect a dangling pointer: the plugin must not use a connection after its ondisconnect,
 * a request after its handler, or a length beyond the end of the bytes. Keep the id of a
 * connection and call callsign_host.find, which returns NULL for a connection that has ended. */

struct connection;
struct callsign_guard;
struct callsign_handler;
struct callsign_handshake;
struct callsign_host;
struct callsign_load;
struct callsign_plugin;
struct callsign_request;

/* First field of a struct callsign_plugin: the bytes `callsign`, read as a little-endian
 * integer. */
#define CALLSIGN_MAGIC UINT64_C(0x6e6769736c6c6163)

/* The host rejects a plugin with another major version. */
#define CALLSIGN_ABI_MAJOR 1

/* The host loads plugins with the same or a lower minor version. It also loads plugins with a
 * higher minor version; such a plugin must check `struct_size` before it uses newer fields and
 * functions. */
#define CALLSIGN_ABI_MINOR 1

/* The data symbol under which a library exports its struct callsign_plugin. */
#define CALLSIGN_PLUGIN_SYMBOL "callsign_plugin"

/* The data symbol under which a library exports its struct callsign_guard, if it has one. */
#define CALLSIGN_GUARD_SYMBOL "callsign_guard"

/* Prefix of the data symbol that exports a struct callsign_handler; the handler's name follows. */
#define CALLSIGN_HANDLER_PREFIX "callsign_handler_"

/* Value of `worker` in callsign_host.worker_send that means all workers except the sender. */
#define CALLSIGN_ALL_WORKERS UINT32_MAX

/* Size of a plugin's name in bytes, including the terminating NUL. */
#define CALLSIGN_NAME_SIZE 64

/* Size of a plugin's version in bytes, including the terminating NUL. */
#define CALLSIGN_VERSION_SIZE 32

/* Message kinds for callsign_host.send and callsign_onmessage_fn: the opcodes of RFC 6455
 * section 5.2. */
enum callsign_op {
	/* Valid UTF-8. */
	CALLSIGN_OP_TEXT = 1,
	/* Any bytes. */
	CALLSIGN_OP_BINARY = 2,
	/* At most 125 bytes. */
	CALLSIGN_OP_PING = 9,
	/* At most 125 bytes. */
	CALLSIGN_OP_PONG = 10
};

/* Which clients a broadcast reaches. */
enum callsign_scope {
	/* The clients of this worker. */
	CALLSIGN_SCOPE_LOCAL = 1,
	/* The clients of all workers. */
	CALLSIGN_SCOPE_GLOBAL = 2
};

/* Handler kinds. The kind determines the signature of the function. 0 is reserved. */
enum callsign_kind {
	/* callsign_onconnect_fn */
	CALLSIGN_KIND_ONCONNECT = 1,
	/* callsign_onmessage_fn */
	CALLSIGN_KIND_ONMESSAGE = 2,
	/* callsign_ondisconnect_fn */
	CALLSIGN_KIND_ONDISCONNECT = 3,
	/* callsign_onrequest_fn */
	CALLSIGN_KIND_ONREQUEST = 4,
	/* callsign_onload_fn. The host finds the hook by its kind; the name does not matter,
	 * unless the library has several: then `onload` in `[plugin.NAME]` of the config file
	 * must name one of them. */
	CALLSIGN_KIND_ONLOAD = 5,
	/* callsign_onunload_fn; at most one per plugin. The host finds it by its kind; the name
	 * does not matter. */
	CALLSIGN_KIND_ONUNLOAD = 6,
	/* callsign_ondrain_fn. Since ABI 1.1. */
	CALLSIGN_KIND_ONDRAIN = 7
};

/* Return values of the functions of struct callsign_host. Not negative: success. Negative:
 * nothing was done; the value is the reason. */
enum callsign_status {
	/* Success. For callsign_host.send: the message is queued, and the host begins to write
	 * it to the socket no later than the end of this turn of the event loop, which is after
	 * the callback has returned; at once if more than the host's `high_water` waits. */
	CALLSIGN_STATUS_SENT = 0,
	/* Success, but the client's write queue exceeds the host's `high_water`: the client
	 * reads more slowly than the plugin sends. An callsign_ondrain_fn handler of the
	 * connection is called when nothing waits any more. */
	CALLSIGN_STATUS_QUEUED = 1,
	/* The connection is closing or closed, or no connection has that id. */
	CALLSIGN_STATUS_CLOSED = -1,
	/* The message exceeds the host's `max_message`, or a control message exceeds 125 bytes. */
	CALLSIGN_STATUS_TOO_LARGE = -2,
	/* Not an opcode of callsign_op. */
	CALLSIGN_STATUS_BAD_OP = -3,
	/* CALLSIGN_OP_TEXT that is not valid UTF-8. */
	CALLSIGN_STATUS_BAD_UTF8 = -4,
	/* A required argument is NULL, the scope is unknown, an endpoint must not send the close
	 * code (RFC 6455 section 7.4), or a header is malformed. */
	CALLSIGN_STATUS_BAD_ARGUMENT = -5,
	/* No handler has that name in the plugins that were searched, or several plugins have
	 * one, or no timer has that id. */
	CALLSIGN_STATUS_NOT_FOUND = -6,
	/* The handler of that name has another kind. */
	CALLSIGN_STATUS_WRONG_KIND = -7,
	/* The request is not a WebSocket upgrade. */
	CALLSIGN_STATUS_NOT_UPGRADE = -8,
	/* Called from a thread other than the worker thread, or from a forked child. */
	CALLSIGN_STATUS_WRONG_THREAD = -9,
	/* The queue of the background pool is full. */
	CALLSIGN_STATUS_BUSY = -10,
	/* A load, save or restore hook is running. The load may still be rejected and must then
	 * have no effect, so these hooks cannot send to clients or to other workers. */
	CALLSIGN_STATUS_NOT_NOW = -11,
	/* The message was dropped as a whole: the client's write queue exceeds the host's
	 * `high_water`, and its route has `on_full = "drop"`. Since ABI 1.1. */
	CALLSIGN_STATUS_DROPPED = -12
};

/* Return values of a callsign_save_fn hook. */
enum callsign_saved {
	/* The state cannot be saved: the reload is rejected. Report the reason with
	 * callsign_host.fail. */
	CALLSIGN_SAVED_FAILED = 0,
	/* The hook passed the state to callsign_host.save. */
	CALLSIGN_SAVED = 1,
	/* `data` does not belong to this plugin; `data` is kept unchanged. */
	CALLSIGN_SAVED_NOT_MINE = 2,
	/* `data` belongs to this plugin and is not carried over: the host calls ondisconnect of
	 * the old generation, then onconnect of the new generation. The connection stays open. */
	CALLSIGN_SAVED_RESTART = 3
};

/* Which side closed a connection, returned by callsign_host.closed_by. */
enum callsign_closed_by {
	/* The connection is open. */
	CALLSIGN_CLOSED_BY_NOBODY = 0,
	/* The client closed the connection with a Close frame, or disconnected without one. */
	CALLSIGN_CLOSED_BY_CLIENT = 1,
	/* The server closed the connection: a plugin did, or the host did because of a protocol
	 * violation, a limit, a failed callback or a shutdown. */
	CALLSIGN_CLOSED_BY_SERVER = 2
};

/* Parts of a client's certificate, for callsign_host.certificate_field. Since ABI 1.1. */
enum callsign_certificate {
	/* The subject as a string of RFC 4514, such as `CN=sensor 7,O=Example`. */
	CALLSIGN_CERTIFICATE_SUBJECT = 1,
	/* The issuer, in the same form. */
	CALLSIGN_CERTIFICATE_ISSUER = 2,
	/* The last common name of the subject. */
	CALLSIGN_CERTIFICATE_COMMON_NAME = 3,
	/* The serial number in hexadecimal, unique together with the issuer. */
	CALLSIGN_CERTIFICATE_SERIAL = 4,
	/* The SHA-256 of the whole certificate, in 64 hexadecimal digits. */
	CALLSIGN_CERTIFICATE_FINGERPRINT = 5,
	/* A DNS name among its alternative names (RFC 5280 section 4.2.1.6). */
	CALLSIGN_CERTIFICATE_DNS = 6,
	/* An email address among them. */
	CALLSIGN_CERTIFICATE_EMAIL = 7,
	/* A URI among them, such as `spiffe://example.org/sensor`. */
	CALLSIGN_CERTIFICATE_URI = 8,
	/* An IP address among them. */
	CALLSIGN_CERTIFICATE_ADDRESS = 9
};

/* HTTP methods for callsign_request.method_code (RFC 9110 section 9.3, RFC 5789). Each method is
 * one bit, so one integer can hold a set of methods. The values are those of Kore; 8 is
 * reserved. */
enum callsign_method {
	/* Any other method. */
	CALLSIGN_METHOD_OTHER = 0,
	/* GET */
	CALLSIGN_METHOD_GET = 1,
	/* POST */
	CALLSIGN_METHOD_POST = 2,
	/* PUT */
	CALLSIGN_METHOD_PUT = 4,
	/* DELETE */
	CALLSIGN_METHOD_DELETE = 16,
	/* HEAD */
	CALLSIGN_METHOD_HEAD = 32,
	/* OPTIONS */
	CALLSIGN_METHOD_OPTIONS = 64,
	/* PATCH */
	CALLSIGN_METHOD_PATCH = 128
};

/* Log levels for callsign_host.log. */
enum callsign_level {
	/* An operation failed. */
	CALLSIGN_LEVEL_ERROR = 1,
	/* A problem that does not stop the operation. */
	CALLSIGN_LEVEL_WARN = 2,
	/* Information for the operator. */
	CALLSIGN_LEVEL_INFO = 3,
	/* Information for the developer. */
	CALLSIGN_LEVEL_DEBUG = 4
};

/* One WebSocket connection, `struct connection` in C. Valid from its onconnect until its
 * ondisconnect returns. To refer to a connection later, keep its `id`, not its address, and call
 * callsign_host.find. */
struct connection {
	/* Owned by the plugin; initially NULL. The host never dereferences `data`. */
	void *data;
	/* Never reused while the server runs, and unchanged by a reload. Read only. */
	uint64_t id;
	/* Used by the SDK to record which plugin set `data`. A plugin that sets `data` itself
	 * must not write this field. */
	size_t data_tag;
};

/* One HTTP request, `struct callsign_request` in C. Valid until the onrequest handler returns.
 * Read only, except `data`. */
struct callsign_request {
	/* Owned by the handler; initially NULL. */
	void *data;
	/* Size of this struct in the host, in bytes. */
	uint32_t struct_size;
	/* 1 if the request is a valid WebSocket upgrade (RFC 6455 section 4.2.1), else 0. */
	uint32_t upgrade;
	/* "GET", ... */
	const char *method;
	/* The path as sent, without the query and the `strip_prefix` of its route.
	 * Percent-encoding is kept. */
	const char *path;
	/* The part after the `?`; "" without one. */
	const char *query;
	/* Address and port of the client: "192.0.2.7:51314", "[2001:db8::7]:51314", or "unix:"
	 * for a client of a Unix socket. Behind a reverse proxy that the operator trusts, it is
	 * what the proxy says, with port 0 if it says none. */
	const char *peer;
	/* `body_length` bytes, then a NUL; never NULL. */
	const uint8_t *body;
	/* In bytes; at most the host's `max_body`. */
	size_t body_length;
	/* The value of the Host header as sent; "" without one. */
	const char *host;
	/* The connection that the request may become. Its `data` is initially NULL and becomes
	 * the connection's `data` when onconnect is called. Its `id` is 0 until then. Of the
	 * functions of struct callsign_host, only callsign_host.peer, callsign_host.certificate,
	 * callsign_host.certificate_field, callsign_host.param and callsign_host.is_secure
	 * accept the pointer before onconnect; the others return CALLSIGN_STATUS_CLOSED, NULL or
	 * 0.
	 *
	 * If `data` or `data_tag` is set and the request does not become a connection, the host
	 * calls callsign_plugin.release of the handler's plugin with this pointer: right after
	 * the handler, while the request is still valid, or later, if the client disconnects
	 * before the 101 is written. The host also calls callsign_plugin.release if the plugin
	 * is reloaded before the 101 is written; the connection then starts with NULL in the new
	 * generation. */
	struct connection *owner;
	/* One of callsign_method. */
	uint32_t method_code;
	/* Initially 0. For the plugin: the host neither reads nor changes it. Since ABI 1.1. */
	uint32_t status;
};

/* The argument of a callsign_onload_fn hook, `struct callsign_load` in C. */
struct callsign_load {
	/* Size of this struct in the host, in bytes. */
	uint32_t struct_size;
	/* 1 for the generation that the server started with; each successful reload of the
	 * plugin adds 1. */
	uint32_t generation;
	/* The plugin's name, as used in routes and handshakes. */
	const char *plugin;
	/* The plugin's `config` table as a JSON object in UTF-8; "{}" without one. */
	const char *config;
	/* What callsign_plugin.save_plugin of the previous generation saved on this worker:
	 * `state_length` bytes, or NULL if nothing was saved. callsign_plugin.restore_plugin
	 * receives the same bytes. */
	const void *state;
	/* In bytes. */
	size_t state_length;
	/* The callsign_plugin.state_version of the generation that saved `state`. */
	uint32_t state_version;
	/* 1 in the probe, a process that loads a new generation as a trial before any worker
	 * does. The probe exits right after this hook, serves no clients, and carries no state
	 * over. Reject in the probe what the hook would reject in a worker, and do not change
	 * anything outside the process. */
	uint32_t probe;
	/* The plain function that the config file names as the plugin's `onload`, if the library
	 * exports one in addition to this hook; else NULL. The plugin defines its signature. */
	void (*function)(void);
	/* Index of this worker, from 0, as callsign_host.worker_index returns it. 0 in the
	 * probe. Since ABI 1.1. */
	uint32_t worker;
	/* The generation of the plugin that still serves while the hook runs, and that this one
	 * replaces if the reload is accepted. It holds its resources until its onunload hook has
	 * run, and keeps them if the reload is rejected. 0: no other copy serves on this worker,
	 * because the worker starts. In the probe of a reload, it is the generation that serves
	 * on the workers. Since ABI 1.1. */
	uint32_t replaces;
};

/* The client was upgraded. The host never calls it while another callback of the same worker
 * runs. [worker thread] */
typedef void (*callsign_onconnect_fn)(struct connection *c);

/* One complete message from the client. The host owns `data`, valid until this returns; `data`
 * is never NULL. `op` is CALLSIGN_OP_TEXT (valid UTF-8) or CALLSIGN_OP_BINARY (RFC 6455 section
 * 5.6). A NUL follows the message: the byte at `data + length` is 0, so a text without a NUL in
 * it is a C string. The function may change the message in place and write to that byte; the
 * host uses neither afterwards. [worker thread] */
typedef void (*callsign_onmessage_fn)(
	struct connection *c, uint8_t op, const void *data, size_t length);

/* Nothing waits in the connection's write queue any more. The host calls it once after the queue
 * has exceeded the host's `high_water` (callsign_host.send returned CALLSIGN_STATUS_QUEUED or
 * CALLSIGN_STATUS_DROPPED), or callsign_host.queued returned more than 0; then not again until
 * one of these happens again. So a plugin can send much data piece by piece: it stops when
 * callsign_host.queued exceeds a number of its own, such as 32 KiB, and goes on in this handler.
 * The host never calls it while another callback of the same worker runs, nor for a connection
 * that is closing. Since ABI 1.1. [worker thread] */
typedef void (*callsign_ondrain_fn)(struct connection *c);

/* The connection has ended. The host calls it once for each upgraded connection, as the last
 * callback of the connection. callsign_host.close_code and the other getters still work. [worker
 * thread] */
typedef void (*callsign_ondisconnect_fn)(struct connection *c);

/* A request for a route. Returns 1 if the request is handled, by the `respond_...` functions or
 * by `handshake`. Any other value is an error: the client gets a 500. [worker thread] */
typedef int32_t (*callsign_onrequest_fn)(struct callsign_request *request);

/* The library was loaded. The host calls the hook before any other function of the library,
 * except callsign_plugin.restore_plugin. Returns 1 to accept. Returns 0 to reject (report the
 * reason with callsign_host.fail): the plugin is then not used, and a reload changes nothing.
 *
 * The hook can set timers and submit background work; both start when the generation is in use.
 * It cannot send to clients or to other workers yet (CALLSIGN_STATUS_NOT_NOW). `data` that the
 * hook sets in a connection without `data` becomes visible when the generation is in use; if the
 * generation is rejected, the host calls its callsign_plugin.release for that connection.
 *
 * In a reload all workers are paused while the hook runs, and no client is served. Leave slow
 * work to timers and background work: the reload is rejected if the hook takes a second longer
 * than on another worker.
 *
 * An exclusive resource, such as a port or a lock file, cannot be opened while another copy of
 * the plugin holds it. Open it on one worker only (callsign_load.worker is 0), not in the probe,
 * and if callsign_load.replaces is not 0, not in this hook, but in a timer with the delay 0: it
 * fires after the onunload hook of the old generation, which closes the resource, and never if
 * the reload is rejected. [worker thread] */
typedef int32_t (*callsign_onload_fn)(const struct callsign_load *load);

/* A new generation has replaced this one: the host no longer calls handlers, timers and hooks of
 * this generation. Its code and its static variables stay in memory until the worker ends, and
 * so does everything that only they refer to. Free tables and caches here, and close exclusive
 * resources. Background work that is running finishes. After this hook, the host frees the data
 * of this generation's timers and background work, and of requests whose 101 is not written yet.
 * The host does not call this hook when the worker exits, or for a generation that was rejected.
 * [worker thread] */
typedef void (*callsign_onunload_fn)(void);

/* Saves `c->data` for the next generation: passes bytes to callsign_host.save and returns one of
 * callsign_saved. The hook must not change `data`, because the reload may still be rejected. The
 * host calls it for each connection that has a handler of this plugin and `data` that is not
 * NULL. [worker thread] */
typedef int32_t (*callsign_save_fn)(struct connection *c);

/* Sets `c->data`, which is NULL, from the bytes that the callsign_save_fn hook of the previous
 * generation saved: `length` bytes at `state`. `version` is the state version of that
 * generation. Returns 1, or 0 if the state cannot be restored (report the reason with
 * callsign_host.fail): the reload is then rejected. If the reload is rejected later, the host
 * calls callsign_plugin.release of this generation for what the hook set. [worker thread] */
typedef int32_t (*callsign_restore_fn)(
	struct connection *c, uint32_t version, const void *state, size_t length);

/* Saves the state of the plugin that belongs to no connection, in the same way as
 * callsign_save_fn. CALLSIGN_SAVED_NOT_MINE and CALLSIGN_SAVED_RESTART mean that there is
 * nothing to save. Each worker has its own state. [worker thread] */
typedef int32_t (*callsign_save_plugin_fn)(void);

/* Restores what callsign_save_plugin_fn saved, in the same way as callsign_restore_fn. The host
 * calls it before the onload hook, and does not call it if nothing was saved. [worker thread] */
typedef int32_t (*callsign_restore_plugin_fn)(uint32_t version, const void *state, size_t length);

/* A worker message: the plugin's instance on worker number `worker` sent it with
 * callsign_host.worker_send under the id `id`. `data` is never NULL; as in
 * callsign_onmessage_fn, a NUL follows it, and the function may change both. The host never
 * calls it while another callback of the same worker runs. [worker thread] */
typedef void (*callsign_onworker_message_fn)(
	uint32_t worker, uint32_t id, const void *data, size_t length);

/* A timer fired, or background work completed. `data` is the pointer that was registered with
 * it. `c` is the connection that it was registered for, which is open, or NULL if it was
 * registered for none. The function may report failure with callsign_host.fail: the host logs
 * the failure and closes `c` with 1011. A repeating timer without connection keeps running. The
 * host never calls it while another callback of the same worker runs. [worker thread] */
typedef void (*callsign_onlater_fn)(void *data, struct connection *c);

/* Background work, which may block. The function has exclusive access to `data` until it
 * returns. Of the functions of struct callsign_host, it may call those that are [any thread].
 * [pool thread] */
typedef void (*callsign_work_fn)(void *data);

/* Frees `data` and everything that only `data` refers to; nothing uses `data` afterwards. The
 * function may report failure like callsign_onlater_fn; the host only logs the failure. The host
 * never calls it while another callback of the same worker runs. [worker thread] */
typedef void (*callsign_free_fn)(void *data);

/* The function of a struct callsign_handler; the kind determines which member is valid. */
union callsign_handler_function {
	/* CALLSIGN_KIND_ONCONNECT */
	callsign_onconnect_fn onconnect;
	/* CALLSIGN_KIND_ONMESSAGE */
	callsign_onmessage_fn onmessage;
	/* CALLSIGN_KIND_ONDISCONNECT */
	callsign_ondisconnect_fn ondisconnect;
	/* CALLSIGN_KIND_ONREQUEST */
	callsign_onrequest_fn onrequest;
	/* CALLSIGN_KIND_ONLOAD */
	callsign_onload_fn onload;
	/* CALLSIGN_KIND_ONUNLOAD */
	callsign_onunload_fn onunload;
	/* CALLSIGN_KIND_ONDRAIN */
	callsign_ondrain_fn ondrain;
};

/* A handler with its kind, exported as the data symbol `callsign_handler_NAME`.
 *
 * A library may instead export a plain function `NAME`. Its kind is then the one that the route
 * or the handshake expects. The prefix prevents symbol clashes: without it, a handler named
 * `connect` or `send` would replace the C library's function of that name inside the plugin. */
struct callsign_handler {
	/* Size of this struct in the plugin, in bytes. */
	uint32_t struct_size;
	/* One of callsign_kind. */
	uint32_t kind;
	/* Not NULL. */
	union callsign_handler_function function;
};

/* The names of a connection's handlers, for callsign_host.handshake_with. Each may be NULL: the
 * event is ignored. Since ABI 1.1. */
struct callsign_handshake {
	/* Size of this struct in the plugin, in bytes. Names beyond this size are NULL. */
	uint32_t struct_size;
	/* 0 */
	uint32_t reserved;
	/* callsign_onconnect_fn */
	const char *onconnect;
	/* callsign_onmessage_fn */
	const char *onmessage;
	/* callsign_ondisconnect_fn */
	const char *ondisconnect;
	/* callsign_ondrain_fn */
	const char *ondrain;
};

/* The part of a call that the host makes through a struct callsign_guard: it calls one function
 * of the plugin. */
typedef void (*callsign_body_fn)(void *argument);

/* Calls `body` with `argument` once, on this thread, and catches every exception that leaves it.
 * Returns 0 if there was none; otherwise 1, with a description of the exception in `reason`: at
 * most `size` bytes, NUL-terminated. `size` is not 0. [any thread] */
typedef int32_t (*callsign_catch_fn)(
	callsign_body_fn body, void *argument, char *reason, size_t size);

/* Catches the exceptions of a library in C++, exported as the data symbol `callsign_guard`. If a
 * library exports a guard, the host calls all its functions through it, and an exception that
 * leaves one is a failure like one that callsign_host.fail reports. An exception must not leave
 * a function of a library without a guard: it ends the worker. */
struct callsign_guard {
	/* Size of this struct in the plugin, in bytes. */
	uint32_t struct_size;
	/* 0 */
	uint32_t reserved;
	/* Not NULL. */
	callsign_catch_fn call;
};

/* The descriptor that makes a library a plugin, exported as the data symbol `callsign_plugin`.
 * The host reads it from the file before it runs any code of the plugin. */
struct callsign_plugin {
	/* CALLSIGN_MAGIC */
	uint64_t magic;
	/* The CALLSIGN_ABI_MAJOR that the plugin was built with. */
	uint16_t abi_major;
	/* The CALLSIGN_ABI_MINOR that the plugin was built with. */
	uint16_t abi_minor;
	/* Size of this struct in the plugin, in bytes. */
	uint32_t struct_size;
	/* UTF-8, NUL-padded; letters, digits, `-`, `_`, `.`. If empty, the host uses the file
	 * name without `lib` and the extension. */
	char name[CALLSIGN_NAME_SIZE];
	/* UTF-8, NUL-padded; may be empty. */
	char version[CALLSIGN_VERSION_SIZE];
	/* Version of what `data` points to and of what the save hooks write. Increase it when
	 * either changes. 0: no version. */
	uint32_t state_version;
	/* 0 */
	uint32_t reserved;
	/* Where the host writes the address of its function table before it calls any function
	 * of the plugin. Not NULL. */
	const struct callsign_host **host;
	/* Frees `c->data` if it belongs to this plugin. The host calls it after the connection's
	 * last callback if one of the connection's handlers belongs to this plugin, even without
	 * an ondisconnect handler. After a reload the host also calls it for `data` that was
	 * replaced: in the old generation if the new one was accepted, in the new generation if
	 * it was rejected. May be NULL. [worker thread] */
	void (*release)(struct connection *c);
	/* May be NULL. Unless the old generation has `save` and the new one has `restore`,
	 * `data` that is not NULL is handled by `state_version`. If both generations have the
	 * same version, not 0, `data` is kept unchanged. Otherwise the host calls ondisconnect
	 * of the old generation and onconnect of the new one; the connection stays open. */
	callsign_save_fn save;
	/* May be NULL. */
	callsign_restore_fn restore;
	/* May be NULL. */
	callsign_save_plugin_fn save_plugin;
	/* May be NULL. */
	callsign_restore_plugin_fn restore_plugin;
};

/* The host's functions. The process has one table, valid until the process exits. */
struct callsign_host {
	/* Size of this struct in the host, in bytes. A function beyond this size does not exist. */
	uint32_t struct_size;
	/* The host's CALLSIGN_ABI_MAJOR. */
	uint16_t abi_major;
	/* The host's CALLSIGN_ABI_MINOR. */
	uint16_t abi_minor;
	/* Sends one message to one client. `op` is one of callsign_op. Returns a
	 * callsign_status. */
	int32_t (*send)(struct connection *c, uint8_t op, const void *data, size_t length);
	/* Sends one message to every open connection of the callsign_scope except `source`,
	 * which may be NULL. If the host has loaded several plugins, only the connections that
	 * have a handler of the calling plugin receive it, unless the host's configuration says
	 * `broadcast = "all"` for the plugin. Returns a callsign_status; clients that cannot
	 * accept the message do not affect it. */
	int32_t (*broadcast)(
		struct connection *source, uint8_t op, const void *data, size_t length,
		uint32_t scope);
	/* Starts the closing handshake (RFC 6455 section 7.1.2). With `code` 0 the Close frame
	 * has no code. The reason is `length` bytes of UTF-8, truncated to 123. The client still
	 * receives messages that were sent before; the plugin receives no more messages. Returns
	 * a callsign_status. */
	int32_t (*close)(
		struct connection *c, uint16_t code, const char *reason, size_t length);
	/* Returns the open connection of this worker with that id, or NULL. The pointer is valid
	 * until the running callback returns. */
	struct connection *(*find)(uint64_t id);
	/* Address and port of the client, as in struct callsign_request. Valid as long as the
	 * connection. */
	const char *(*peer)(const struct connection *c);
	/* Path of the upgrade request, as in struct callsign_request. Valid as long as the
	 * connection. */
	const char *(*path)(const struct connection *c);
	/* Query of the upgrade request, as in struct callsign_request. Valid as long as the
	 * connection. */
	const char *(*query)(const struct connection *c);
	/* Value of the upgrade request's first header of that name, or NULL. The name is
	 * case-insensitive. Several Cookie lines are one header, joined by `; `. Valid as long
	 * as the connection. */
	const char *(*header)(const struct connection *c, const char *name);
	/* Header number `index` of the upgrade request, counted from 0, with the name in lower
	 * case. Returns 1, or 0 beyond the last header. */
	int32_t (*header_at)(
		const struct connection *c, size_t index, const char **name, const char **value);
	/* Code of the first Close frame, sent or received. 1005 if that frame had no code; 1006
	 * if the connection ended without a Close frame (RFC 6455 section 7.1.5); 0 while the
	 * connection is open. */
	uint16_t (*close_code)(const struct connection *c);
	/* The reason that came with that code; "" without one. Valid as long as the connection. */
	const char *(*close_reason)(const struct connection *c);
	/* One of callsign_closed_by. */
	uint32_t (*closed_by)(const struct connection *c);
	/* Value of the request's first header of that name, or NULL, as in callsign_host.header. */
	const char *(*request_header)(
		const struct callsign_request *request, const char *name);
	/* Header number `index` of the request; see callsign_host.header_at. */
	int32_t (*request_header_at)(
		const struct callsign_request *request, size_t index, const char **name,
		const char **value);
	/* Sets the status of the response, 200 to 599; the default is 200. Returns a
	 * callsign_status: CALLSIGN_STATUS_BAD_ARGUMENT for any other number, which changes
	 * nothing. */
	int32_t (*respond_status)(struct callsign_request *request, uint16_t status);
	/* Adds a header to the response, including a 101. The host sets Content-Length, Date,
	 * Connection, Transfer-Encoding, Upgrade, Sec-WebSocket-Accept and
	 * Sec-WebSocket-Extensions itself. Returns a callsign_status:
	 * CALLSIGN_STATUS_BAD_ARGUMENT for one of those, for a malformed header, and after a
	 * thousand headers.
	 *
	 * Sec-WebSocket-Protocol selects the subprotocol of a connection, and takes precedence
	 * over `protocols` of the route. It is one name, set once (CALLSIGN_STATUS_BAD_ARGUMENT
	 * otherwise). If the client does not offer it, the 101 has no subprotocol and the host
	 * logs a warning. */
	int32_t (*respond_header)(
		struct callsign_request *request, const char *name, const char *value);
	/* Sets the body of the response. The host copies the bytes. Returns a callsign_status. */
	int32_t (*respond_body)(
		struct callsign_request *request, const void *data, size_t length);
	/* Upgrades the request and binds three handlers to the connection by name. The host
	 * searches `name` in the calling plugin, then in the other plugins, of which only one
	 * may have it; it searches `plugin:name` in that plugin only. NULL: the event is
	 * ignored.
	 *
	 * The host resolves all names before it sends the 101. If a handler does not exist or
	 * has another kind, the client gets a 500 and the log names the handler. A name that is
	 * not UTF-8 does not exist. Returns a callsign_status: CALLSIGN_STATUS_NOT_FOUND,
	 * CALLSIGN_STATUS_WRONG_KIND, CALLSIGN_STATUS_NOT_UPGRADE. The last call wins. The
	 * handler returns 1, whatever this function returned. */
	int32_t (*handshake)(
		struct callsign_request *request, const char *onconnect, const char *onmessage,
		const char *ondisconnect);
	/* Writes `length` bytes of UTF-8 to the server's log, with the plugin's name. `caller`
	 * is the plugin's callsign_plugin.host, which identifies the plugin; the name of an
	 * unknown caller is logged as `?`. [any thread] */
	void (*log)(
		const struct callsign_host *const *caller, uint32_t level, const char *message,
		size_t length);
	/* Reports that the running callback failed, with the reason. The host logs plugin,
	 * handler and reason. It then closes the connection with 1011, responds to the request
	 * with 500, or rejects the load. `file` may be NULL. The last call wins. Returns a
	 * callsign_status: CALLSIGN_STATUS_WRONG_THREAD if no callback is running on this
	 * thread. */
	int32_t (*fail)(
		const char *message, size_t length, const char *file, uint32_t line);
	/* Returns 1 while a callback runs on the calling thread, else 0. [any thread] */
	int32_t (*in_callback)(void);
	/* Returns the function table of an optional extension, identified by name and version
	 * ("name/1"), or NULL. The host has no extensions yet. [any thread] */
	const void *(*extension)(const char *name);
	/* Sets a timer: the host calls `call` after `delay_ms` milliseconds and, if `repeat_ms`
	 * is not 0, every `repeat_ms` milliseconds after that. The times are counted from the
	 * first call, so they do not drift. Calls that a busy worker missed are skipped.
	 * `caller`: see callsign_host.log.
	 *
	 * `connection` is the connection.id of an open connection of this worker, or 0 for none.
	 * The timer ends with the connection, and does not fire while the connection is closing.
	 *
	 * The timer owns `data` until the host calls `free`, once. `free` may be NULL. The host
	 * calls `free` after the last call, after callsign_host.timer_remove, after the last
	 * callback and the release hook of the connection, or when this generation is replaced
	 * or the worker exits. Returns the timer's id, which a worker never reuses, or 0: then
	 * no timer was set, `free` is not called, and the caller keeps `data`. It returns 0 if
	 * `call` is NULL, if `caller` is unknown, if the connection is closing or does not
	 * exist, or on another thread. */
	uint64_t (*timer_add)(
		const struct callsign_host *const *caller, uint64_t connection, uint64_t delay_ms,
		uint64_t repeat_ms, callsign_onlater_fn call, void *data, callsign_free_fn free);
	/* Removes a timer; a timer may remove itself in its own callback. The host calls its
	 * `free` soon afterwards, when no callback runs. Returns a callsign_status:
	 * CALLSIGN_STATUS_NOT_FOUND if the timer has ended, CALLSIGN_STATUS_NOT_NOW for a timer
	 * of a generation in use while a load, save or restore hook runs. */
	int32_t (*timer_remove)(uint64_t id);
	/* Submits background work: a thread of the background pool calls `work` as soon as it is
	 * free, then the worker thread calls `done`, which may be NULL. Results arrive in the
	 * order in which work completes. `caller`: see callsign_host.log.
	 *
	 * `connection` is the id of an open connection of this worker, or 0 for none. If the
	 * connection closes before `work` has started, the host calls neither `work` nor `done`.
	 * If it closes before `done`, the host does not call `done`. Submit work that must be
	 * done after the client has disconnected with 0.
	 *
	 * The work owns `data` until the host calls `free`, once, after `done` or instead of it.
	 * `free` may be NULL. The host does not call `free` for work that is still running when
	 * the worker stops and `drain_timeout` expires. Returns a callsign_status. If it is
	 * negative, nothing is called and the caller keeps `data`: CALLSIGN_STATUS_BUSY if the
	 * queue of the pool is full, CALLSIGN_STATUS_CLOSED, CALLSIGN_STATUS_BAD_ARGUMENT if
	 * `work` is NULL or `caller` is unknown. */
	int32_t (*background)(
		const struct callsign_host *const *caller, uint64_t connection,
		callsign_work_fn work, callsign_onlater_fn done, void *data, callsign_free_fn free);
	/* Passes the saved state to the host, which copies the bytes. Only a save hook may call
	 * it. The last call wins. Returns a callsign_status: CALLSIGN_STATUS_NOT_NOW outside a
	 * save hook. */
	int32_t (*save)(const void *data, size_t length);
	/* This worker's number, counted from 0. [any thread] */
	uint32_t (*worker_index)(void);
	/* Number of workers. [any thread] */
	uint32_t (*worker_count)(void);
	/* Sends a worker message to the plugin's instance on another worker, or on all other
	 * workers (CALLSIGN_ALL_WORKERS). That instance receives it with the function that it
	 * registered for `id` with callsign_host.worker_receive. Messages from one sender arrive
	 * in order. A message is lost if the other instance has no receiver for `id`, or if its
	 * worker dies. `caller`: see callsign_host.log. Returns a callsign_status:
	 * CALLSIGN_STATUS_NOT_FOUND if no worker has that number or it is this worker,
	 * CALLSIGN_STATUS_TOO_LARGE above the host's `max_message`, CALLSIGN_STATUS_BAD_ARGUMENT
	 * if `caller` is unknown. With a single worker, CALLSIGN_ALL_WORKERS reaches no worker
	 * and returns SENT. */
	int32_t (*worker_send)(
		const struct callsign_host *const *caller, uint32_t worker, uint32_t id,
		const void *data, size_t length);
	/* Registers `call` as the receiver of worker messages with that `id` from this plugin;
	 * NULL removes the receiver. A registration ends with this generation. Returns a
	 * callsign_status: CALLSIGN_STATUS_BAD_ARGUMENT if `caller` is unknown,
	 * CALLSIGN_STATUS_NOT_NOW for a generation in use while a load, save or restore hook
	 * runs. */
	int32_t (*worker_receive)(
		const struct callsign_host *const *caller, uint32_t id,
		callsign_onworker_message_fn call);
	/* The subprotocol that the 101 selected (RFC 6455 section 1.9): a handler did, or
	 * `protocols` of the route; "" without one. Valid as long as the connection. Since ABI
	 * 1.1. */
	const char *(*protocol)(const struct connection *c);
	/* The certificate with which the client has proved its identity in the TLS handshake, as
	 * DER, with its length in bytes; NULL and 0 without one. A client has one where the
	 * host's configuration has `client_certificates` for its address, and only if an
	 * authority in that file has issued it. Also accepts callsign_request.owner. Valid as
	 * long as the connection, or the request. Since ABI 1.1. */
	const uint8_t *(*certificate)(const struct connection *c, size_t *length);
	/* A part of that certificate: number `index`, counted from 0, of those of one kind,
	 * which is one of callsign_certificate. NULL beyond the last one, and without a
	 * certificate. The string is UTF-8. Also accepts callsign_request.owner. Valid as long
	 * as the connection, or the request. Since ABI 1.1. */
	const char *(*certificate_field)(
		const struct connection *c, uint32_t kind, size_t index);
	/* Value of a parameter in the path of the route: `room` of `/room/{room}`. NULL if the
	 * route has none of that name. The value is decoded and is UTF-8 without NULs: for
	 * `/room/a%2Fb` it is `a/b`. It comes from the client, so it may contain `/` and `..`.
	 * It may be empty only for a parameter such as `{*path}`. Also accepts
	 * callsign_request.owner. Valid as long as the connection, or the request. Since ABI
	 * 1.1. */
	const char *(*param)(const struct connection *c, const char *name);
	/* Number of bytes in the connection's write queue, frame headers included: what was sent
	 * to the client and the system has not accepted yet. What a callback sends waits at
	 * least until it returns, unless it exceeds the host's `high_water`. If the result is
	 * not 0, a callsign_ondrain_fn handler of the connection is called when nothing waits
	 * any more. Since ABI 1.1. */
	size_t (*queued)(const struct connection *c);
	/* Like callsign_host.handshake, with the names in a struct, and with a
	 * callsign_ondrain_fn handler. Since ABI 1.1. */
	int32_t (*handshake_with)(
		struct callsign_request *request, const struct callsign_handshake *handlers);
	/* 1 if what the client sends is encrypted on its way, to the host or to a reverse proxy
	 * that the operator trusts; else 0. Such a proxy says so, by `proto=` in Forwarded, by
	 * X-Forwarded-Proto, or in its PROXY header, and it has to replace these headers where
	 * clients send them. 0 if the proxy names a client and no scheme, or if its headers
	 * contradict each other. Also accepts callsign_request.owner. Since ABI 1.1. */
	int32_t (*is_secure)(const struct connection *c);
};

/* ---- Convenience: macros and static inline functions that use the declarations above. ----
 *
 * A plugin declares itself once, at the top level of one of its source files:
 *
 *	CALLSIGN_PLUGIN("chat", "1.0");
 *
 * A handler is a plain function with external linkage (`extern "C"` in C++), called by its name. To
 * let the host check its kind, export it with a macro; the function then may have any linkage:
 *
 *	static void join(struct connection *c) { callsign_text(c, "welcome"); }
 *	CALLSIGN_ONCONNECT(join);
 *
 * Every source file of the plugin may call the functions below. A function without a description
 * has the description, the thread and the return values of the function of struct callsign_host
 * that it calls. If the host is too old for a function, or no host has loaded the library (as in a
 * unit test of the plugin), the function does nothing and returns CALLSIGN_NO_HOST, NULL or 0. */

/* Returned by the functions below, never by a host: no host has loaded the library, or the host does
 * not have this function. */
#define CALLSIGN_NO_HOST INT32_MIN

#ifdef __cplusplus
#define CALLSIGN_DECLARE_ extern "C"
#else
#define CALLSIGN_DECLARE_ extern
#endif
#define CALLSIGN_EXPORTED_ __attribute__((visibility("default")))

/* The host's functions; NULL if no host has loaded the library. All source files of a plugin share
 * the variable; other libraries do not see it. */
extern const struct callsign_host *callsign_host_table;
__attribute__((weak, visibility("hidden"))) const struct callsign_host *callsign_host_table;

/* True if the host has the function with that name in struct callsign_host. */
#define CALLSIGN_HOST_HAS(function) \
	(callsign_host_table != NULL && \
		offsetof(struct callsign_host, function) + sizeof callsign_host_table->function <= \
			callsign_host_table->struct_size)

/* ---- Exports of a plugin ---- */

extern const struct callsign_plugin callsign_plugin CALLSIGN_EXPORTED_;

/* Makes the library a plugin. `name` and `version` are string literals; with the name "", the host
 * uses the file name without `lib` and the extension. */
#define CALLSIGN_PLUGIN(name, version) \
	CALLSIGN_PLUGIN_HOOKS(name, version, 0, NULL, NULL, NULL, NULL, NULL)

/* The same with hooks, in the order of struct callsign_plugin; each may be NULL. */
#define CALLSIGN_PLUGIN_HOOKS( \
	name, version, state_version, release, save, restore, save_plugin, restore_plugin) \
	const struct callsign_plugin callsign_plugin = {CALLSIGN_MAGIC, CALLSIGN_ABI_MAJOR, \
		CALLSIGN_ABI_MINOR, sizeof(struct callsign_plugin), name, version, state_version, 0, \
		&callsign_host_table, release, save, restore, save_plugin, restore_plugin}

#if !defined __cplusplus || __cplusplus >= 202002L
/* The same with hooks by name: CALLSIGN_PLUGIN_WITH("chat", "1.0", .release = release). */
#define CALLSIGN_PLUGIN_WITH(plugin_name, plugin_version, ...) \
	const struct callsign_plugin callsign_plugin = {.magic = CALLSIGN_MAGIC, \
		.abi_major = CALLSIGN_ABI_MAJOR, .abi_minor = CALLSIGN_ABI_MINOR, \
		.struct_size = sizeof(struct callsign_plugin), .name = plugin_name, \
		.version = plugin_version, .host = &callsign_host_table, __VA_ARGS__}
#endif

/* Each macro exports the function `name`, which must be declared before, as a handler or hook of that
 * kind. A function with another signature does not compile. */
#define CALLSIGN_ONCONNECT(name) \
	CALLSIGN_HANDLER_(name, CALLSIGN_KIND_ONCONNECT, callsign_onconnect_fn)
#define CALLSIGN_ONMESSAGE(name) \
	CALLSIGN_HANDLER_(name, CALLSIGN_KIND_ONMESSAGE, callsign_onmessage_fn)
#define CALLSIGN_ONDISCONNECT(name) \
	CALLSIGN_HANDLER_(name, CALLSIGN_KIND_ONDISCONNECT, callsign_ondisconnect_fn)
#define CALLSIGN_ONDRAIN(name) \
	CALLSIGN_HANDLER_(name, CALLSIGN_KIND_ONDRAIN, callsign_ondrain_fn)
#define CALLSIGN_ONREQUEST(name) \
	CALLSIGN_HANDLER_(name, CALLSIGN_KIND_ONREQUEST, callsign_onrequest_fn)
#define CALLSIGN_ONLOAD(name) \
	CALLSIGN_HANDLER_(name, CALLSIGN_KIND_ONLOAD, callsign_onload_fn)
#define CALLSIGN_ONUNLOAD(name) \
	CALLSIGN_HANDLER_(name, CALLSIGN_KIND_ONUNLOAD, callsign_onunload_fn)

/* Has the layout of struct callsign_handler, and checks the type of the function. */
#define CALLSIGN_HANDLER_(name, code, type) \
	struct callsign_handler_of_##name { \
		uint32_t struct_size, kind; \
		type function; \
	}; \
	CALLSIGN_DECLARE_ const struct callsign_handler_of_##name callsign_handler_##name \
		CALLSIGN_EXPORTED_; \
	const struct callsign_handler_of_##name callsign_handler_##name = { \
		sizeof(struct callsign_handler), code, name}

/* ---- C++ exceptions ----
 *
 * An exception that leaves a handler, a hook or any other function that the host calls is a failure
 * of that call, with the exception's type and what() as the reason: the connection is closed with
 * 1011, the request gets a 500, and the worker keeps running. For that, each source file in C++ that
 * includes this header, and is compiled with exceptions, exports the guard of the library. Link the
 * library with the C++ compiler. */
#if defined __cplusplus && defined __cpp_exceptions
extern "C++" {
#include <cxxabi.h>
#include <exception>
#include <stdlib.h>
#include <typeinfo>
}

/* Describes the exception that is being handled. */
static inline void callsign_describe_(const char *what, char *reason, size_t size)
{
	const std::type_info *type = abi::__cxa_current_exception_type();
	const char *name = type == NULL ? "of an unknown type" : type->name();
	int status = 0;
	char *readable = type == NULL ? NULL : abi::__cxa_demangle(name, NULL, NULL, &status);
	snprintf(reason, size, "C++ exception %s%s%s", readable == NULL ? name : readable,
		what == NULL ? "" : ": ", what == NULL ? "" : what);
	free(readable);
}

static inline int32_t callsign_catch_(
	callsign_body_fn body, void *argument, char *reason, size_t size)
{
	try {
		body(argument);
		return 0;
	} catch (const std::exception &exception) {
		callsign_describe_(exception.what(), reason, size);
	} catch (...) {
		callsign_describe_(NULL, reason, size);
	}
	return 1;
}

extern const struct callsign_guard callsign_guard __attribute__((weak)) CALLSIGN_EXPORTED_;
const struct callsign_guard callsign_guard = {
	sizeof(struct callsign_guard), 0, callsign_catch_};
#endif

/* ---- Connections ---- */

static inline int32_t callsign_send(
	struct connection *c, uint8_t op, const void *data, size_t length)
{
	return CALLSIGN_HOST_HAS(send) ? callsign_host_table->send(c, op, data, length) :
		CALLSIGN_NO_HOST;
}

/* Sends a string as a text message. Returns CALLSIGN_STATUS_BAD_ARGUMENT for NULL. */
static inline int32_t callsign_text(struct connection *c, const char *text)
{
	return text == NULL ? (int32_t)CALLSIGN_STATUS_BAD_ARGUMENT :
		callsign_send(c, CALLSIGN_OP_TEXT, text, strlen(text));
}

static inline int32_t callsign_broadcast(
	struct connection *source, uint8_t op, const void *data, size_t length, uint32_t scope)
{
	return CALLSIGN_HOST_HAS(broadcast) ?
		callsign_host_table->broadcast(source, op, data, length, scope) : CALLSIGN_NO_HOST;
}

/* Broadcasts a string as a text message. Returns CALLSIGN_STATUS_BAD_ARGUMENT for NULL. */
static inline int32_t callsign_broadcast_text(
	struct connection *source, const char *text, uint32_t scope)
{
	return text == NULL ? (int32_t)CALLSIGN_STATUS_BAD_ARGUMENT :
		callsign_broadcast(source, CALLSIGN_OP_TEXT, text, strlen(text), scope);
}

/* `reason` is a string, or NULL for none. */
static inline int32_t callsign_close(struct connection *c, uint16_t code, const char *reason)
{
	return CALLSIGN_HOST_HAS(close) ?
		callsign_host_table->close(c, code, reason, reason == NULL ? 0 : strlen(reason)) :
		CALLSIGN_NO_HOST;
}

static inline struct connection *callsign_find(uint64_t id)
{
	return CALLSIGN_HOST_HAS(find) ? callsign_host_table->find(id) : NULL;
}

static inline const char *callsign_peer(const struct connection *c)
{
	return CALLSIGN_HOST_HAS(peer) ? callsign_host_table->peer(c) : NULL;
}

static inline const char *callsign_path(const struct connection *c)
{
	return CALLSIGN_HOST_HAS(path) ? callsign_host_table->path(c) : NULL;
}

static inline const char *callsign_query(const struct connection *c)
{
	return CALLSIGN_HOST_HAS(query) ? callsign_host_table->query(c) : NULL;
}

static inline const char *callsign_protocol(const struct connection *c)
{
	return CALLSIGN_HOST_HAS(protocol) ? callsign_host_table->protocol(c) : NULL;
}

/* `length` may be NULL. For the client of a request, pass its `owner`. */
static inline const uint8_t *callsign_certificate(const struct connection *c, size_t *length)
{
	size_t unused;
	if (length == NULL)
		length = &unused;
	*length = 0;
	return CALLSIGN_HOST_HAS(certificate) ? callsign_host_table->certificate(c, length) : NULL;
}

/* For the client of a request, pass its `owner`. */
static inline const char *callsign_certificate_field(
	const struct connection *c, uint32_t kind, size_t index)
{
	return CALLSIGN_HOST_HAS(certificate_field) ?
		callsign_host_table->certificate_field(c, kind, index) : NULL;
}

/* For a request, pass its `owner`. */
static inline const char *callsign_param(const struct connection *c, const char *name)
{
	return CALLSIGN_HOST_HAS(param) ? callsign_host_table->param(c, name) : NULL;
}

/* For the client of a request, pass its `owner`. */
static inline int32_t callsign_is_secure(const struct connection *c)
{
	return CALLSIGN_HOST_HAS(is_secure) ? callsign_host_table->is_secure(c) : 0;
}

static inline const char *callsign_header(const struct connection *c, const char *name)
{
	return CALLSIGN_HOST_HAS(header) ? callsign_host_table->header(c, name) : NULL;
}

static inline int32_t callsign_header_at(
	const struct connection *c, size_t index, const char **name, const char **value)
{
	return CALLSIGN_HOST_HAS(header_at) ?
		callsign_host_table->header_at(c, index, name, value) : 0;
}

static inline uint16_t callsign_close_code(const struct connection *c)
{
	return CALLSIGN_HOST_HAS(close_code) ? callsign_host_table->close_code(c) : (uint16_t)0;
}

static inline const char *callsign_close_reason(const struct connection *c)
{
	return CALLSIGN_HOST_HAS(close_reason) ? callsign_host_table->close_reason(c) : NULL;
}

static inline uint32_t callsign_closed_by(const struct connection *c)
{
	return CALLSIGN_HOST_HAS(closed_by) ? callsign_host_table->closed_by(c) :
		(uint32_t)CALLSIGN_CLOSED_BY_NOBODY;
}

static inline size_t callsign_queued(const struct connection *c)
{
	return CALLSIGN_HOST_HAS(queued) ? callsign_host_table->queued(c) : 0;
}

/* ---- Requests ---- */

static inline const char *callsign_request_header(
	const struct callsign_request *request, const char *name)
{
	return CALLSIGN_HOST_HAS(request_header) ?
		callsign_host_table->request_header(request, name) : NULL;
}

static inline int32_t callsign_request_header_at(
	const struct callsign_request *request, size_t index, const char **name, const char **value)
{
	return CALLSIGN_HOST_HAS(request_header_at) ?
		callsign_host_table->request_header_at(request, index, name, value) : 0;
}

static inline int32_t callsign_respond_status(struct callsign_request *request, uint16_t status)
{
	return CALLSIGN_HOST_HAS(respond_status) ?
		callsign_host_table->respond_status(request, status) : CALLSIGN_NO_HOST;
}

static inline int32_t callsign_respond_header(
	struct callsign_request *request, const char *name, const char *value)
{
	return CALLSIGN_HOST_HAS(respond_header) ?
		callsign_host_table->respond_header(request, name, value) : CALLSIGN_NO_HOST;
}

static inline int32_t callsign_respond_body(
	struct callsign_request *request, const void *data, size_t length)
{
	return CALLSIGN_HOST_HAS(respond_body) ?
		callsign_host_table->respond_body(request, data, length) : CALLSIGN_NO_HOST;
}

/* Sets status, Content-Type and body of the response. Returns what the onrequest handler can return:
 * 1, or 0 if the host rejected the status, the header or the body. */
static inline int32_t callsign_respond(struct callsign_request *request, uint16_t status,
	const char *content_type, const void *data, size_t length)
{
	return callsign_respond_status(request, status) == CALLSIGN_STATUS_SENT &&
		callsign_respond_header(request, "content-type", content_type) ==
			CALLSIGN_STATUS_SENT &&
		callsign_respond_body(request, data, length) == CALLSIGN_STATUS_SENT;
}

static inline int32_t callsign_handshake(struct callsign_request *request,
	const char *onconnect, const char *onmessage, const char *ondisconnect)
{
	return CALLSIGN_HOST_HAS(handshake) ?
		callsign_host_table->handshake(request, onconnect, onmessage, ondisconnect) :
		CALLSIGN_NO_HOST;
}

/* With an ondrain handler. */
static inline int32_t callsign_handshake_drain(struct callsign_request *request, const char *onconnect,
	const char *onmessage, const char *ondisconnect, const char *ondrain)
{
	struct callsign_handshake handlers = {
		sizeof handlers, 0, onconnect, onmessage, ondisconnect, ondrain};
	return CALLSIGN_HOST_HAS(handshake_with) ?
		callsign_host_table->handshake_with(request, &handlers) : CALLSIGN_NO_HOST;
}

/* Returns 1 if the client offers that subprotocol (RFC 6455 section 4.1), else 0. */
static inline int32_t callsign_offers_protocol(
	const struct callsign_request *request, const char *protocol)
{
	const char *name, *value;
	size_t i, length = protocol == NULL ? 0 : strlen(protocol);
	for (i = 0; length > 0 && callsign_request_header_at(request, i, &name, &value) == 1; i++) {
		if (strcmp(name, "sec-websocket-protocol") != 0)
			continue;
		while (*value != '\0') {
			size_t item = strcspn(value += strspn(value, ", \t"), ", \t");
			if (item == length && memcmp(value, protocol, length) == 0)
				return 1;
			value += item;
		}
	}
	return 0;
}

/* Selects the subprotocol of the connection that a handshake makes. Call it once, for a protocol that
 * the client offers. */
static inline int32_t callsign_select_protocol(
	struct callsign_request *request, const char *protocol)
{
	return callsign_respond_header(request, "sec-websocket-protocol", protocol);
}

/* ---- Log and failures ---- */

/* Logs a string; without a host, writes it to stderr. NULL logs nothing. [any thread] */
static inline void callsign_log(uint32_t level, const char *text)
{
	if (text == NULL)
		return;
	if (CALLSIGN_HOST_HAS(log))
		callsign_host_table->log(&callsign_host_table, level, text, strlen(text));
	else
		fprintf(stderr, "%s\n", text);
}

/* Logs a string formatted as by printf, truncated to 1023 bytes. [any thread] */
__attribute__((format(printf, 2, 3))) static inline void callsign_logf(
	uint32_t level, const char *format, ...)
{
	char text[1024];
	va_list values;
	va_start(values, format);
	if (vsnprintf(text, sizeof text, format, values) >= 0)
		callsign_log(level, text);
	va_end(values);
}

/* Reports that the running callback failed, with the reason and the source line of the call. The
 * callback keeps running until it returns. */
#define callsign_fail(reason) callsign_fail_at((reason), __FILE__, (uint32_t)__LINE__)

/* The same with another file and line. `reason` is a string; NULL means "". */
static inline int32_t callsign_fail_at(const char *reason, const char *file, uint32_t line)
{
	return CALLSIGN_HOST_HAS(fail) ?
		callsign_host_table->fail(reason, reason == NULL ? 0 : strlen(reason), file, line) :
		CALLSIGN_NO_HOST;
}

static inline int32_t callsign_in_callback(void)
{
	return CALLSIGN_HOST_HAS(in_callback) ? callsign_host_table->in_callback() : 0;
}

static inline const void *callsign_extension(const char *name)
{
	return CALLSIGN_HOST_HAS(extension) ? callsign_host_table->extension(name) : NULL;
}

/* ---- Timers and background work ---- */

/* Calls `call` once, after `delay_ms` milliseconds. `c` may be NULL for no connection. */
static inline uint64_t callsign_after(struct connection *c, uint64_t delay_ms,
	callsign_onlater_fn call, void *data, callsign_free_fn free_data)
{
	return CALLSIGN_HOST_HAS(timer_add) ? callsign_host_table->timer_add(&callsign_host_table,
		c == NULL ? 0 : c->id, delay_ms, 0, call, data, free_data) : 0;
}

/* Calls `call` every `period_ms` milliseconds, the first time after one period. With 0 as the period
 * it sets no timer and returns 0. `c` may be NULL for no connection. */
static inline uint64_t callsign_every(struct connection *c, uint64_t period_ms,
	callsign_onlater_fn call, void *data, callsign_free_fn free_data)
{
	return CALLSIGN_HOST_HAS(timer_add) && period_ms != 0 ?
		callsign_host_table->timer_add(&callsign_host_table, c == NULL ? 0 : c->id,
			period_ms, period_ms, call, data, free_data) : 0;
}

static inline int32_t callsign_timer_remove(uint64_t id)
{
	return CALLSIGN_HOST_HAS(timer_remove) ? callsign_host_table->timer_remove(id) :
		CALLSIGN_NO_HOST;
}

/* Calls `work` on the background pool, then `done` on the worker thread. `c` may be NULL for no
 * connection. */
static inline int32_t callsign_background(struct connection *c, callsign_work_fn work,
	callsign_onlater_fn done, void *data, callsign_free_fn free_data)
{
	return CALLSIGN_HOST_HAS(background) ? callsign_host_table->background(&callsign_host_table,
		c == NULL ? 0 : c->id, work, done, data, free_data) : CALLSIGN_NO_HOST;
}

/* ---- Saved state and worker messages ---- */

static inline int32_t callsign_save(const void *data, size_t length)
{
	return CALLSIGN_HOST_HAS(save) ? callsign_host_table->save(data, length) : CALLSIGN_NO_HOST;
}

static inline uint32_t callsign_worker_index(void)
{
	return CALLSIGN_HOST_HAS(worker_index) ? callsign_host_table->worker_index() : 0;
}

static inline uint32_t callsign_worker_count(void)
{
	return CALLSIGN_HOST_HAS(worker_count) ? callsign_host_table->worker_count() : 0;
}

static inline int32_t callsign_worker_send(
	uint32_t worker, uint32_t id, const void *data, size_t length)
{
	return CALLSIGN_HOST_HAS(worker_send) ? callsign_host_table->worker_send(
		&callsign_host_table, worker, id, data, length) : CALLSIGN_NO_HOST;
}

static inline int32_t callsign_worker_receive(uint32_t id, callsign_onworker_message_fn call)
{
	return CALLSIGN_HOST_HAS(worker_receive) ?
		callsign_host_table->worker_receive(&callsign_host_table, id, call) :
		CALLSIGN_NO_HOST;
}

#ifdef __cplusplus
}
#endif

#endif
