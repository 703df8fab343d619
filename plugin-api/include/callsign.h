/* callsign.h: plugins for Callsign in C99 or C++. Nothing to link: `cc -shared -fPIC chat.c -o chat.so`.
 *
 * Generated from plugin-api/src/abi.rs and plugin-api/tests/header/helpers.h; change those, then run
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

/* The ABI: everything that crosses the line between host and plugin, and the manual for it.
 *
 * C only: integers, pointers and lengths, NUL-terminated strings. Append-only: a field or a
 * function, once published, keeps its place, type and meaning; new ones go to the end of their
 * struct and raise CALLSIGN_ABI_MINOR. A reader knows by `struct_size` how much of a struct the
 * other side has.
 *
 * Threads. [worker thread]: the one thread of a worker that runs all callbacks, one at a time.
 * [any thread]: whichever. [pool thread]: one of the worker's background threads, beside the
 * worker thread and beside others of their kind. Every function of struct callsign_host is
 * [worker thread] unless it says otherwise; called from elsewhere it does nothing and answers
 * CALLSIGN_STATUS_WRONG_THREAD, NULL or 0.
 *
 * Pointers. What a callback is handed belongs to the host and is valid until the callback
 * returns, if nothing else is said. What a function of struct callsign_host is handed is only
 * read, before it returns. Strings are NUL-terminated; those from the host that stem from an
 * HTTP request are bytes, not always UTF-8.
 *
 * Wrong arguments end nothing. NULL for a connection, a request or a name, where nothing else is
 * said, and NULL for bytes whose length is not 0, is answered with CALLSIGN_STATUS_BAD_ARGUMENT,
 * NULL or 0; length 0 is always allowed, with any pointer. What cannot be told from a good
 * pointer is the plugin's to get right: a connection after its ondisconnect, a request after its
 * handler, a length beyond the bytes. Keep an id and ask callsign_host.find, which answers NULL
 * for what has ended. */

struct connection;
struct callsign_handler;
struct callsign_host;
struct callsign_load;
struct callsign_plugin;
struct callsign_request;

/* First field of a struct callsign_plugin: the bytes `callsign`, little-endian. */
#define CALLSIGN_MAGIC UINT64_C(0x6e6769736c6c6163)

/* A host refuses a plugin of another major version. */
#define CALLSIGN_ABI_MAJOR 1

/* A host serves plugins of its own and of lower minor versions, and of higher ones as far as
 * they ask (by `struct_size`) before they use what is newer. */
#define CALLSIGN_ABI_MINOR 0

/* The data symbol under which a library exports its struct callsign_plugin. */
#define CALLSIGN_PLUGIN_SYMBOL "callsign_plugin"

/* What stands before a handler's name in the data symbol that exports its struct
 * callsign_handler. */
#define CALLSIGN_HANDLER_PREFIX "callsign_handler_"

/* callsign_host.worker_send to all workers but the one that sends. */
#define CALLSIGN_ALL_WORKERS UINT32_MAX

/* Bytes for a plugin's name, the closing NUL included. */
#define CALLSIGN_NAME_SIZE 64

/* Bytes for a plugin's version, the closing NUL included. */
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

/* How far a broadcast goes. */
enum callsign_scope {
	/* The clients of this worker. */
	CALLSIGN_SCOPE_LOCAL = 1,
	/* The clients of all workers. */
	CALLSIGN_SCOPE_GLOBAL = 2
};

/* What a handler is, and with which signature it is called. 0 is reserved. */
enum callsign_kind {
	/* callsign_onconnect_fn */
	CALLSIGN_KIND_ONCONNECT = 1,
	/* callsign_onmessage_fn */
	CALLSIGN_KIND_ONMESSAGE = 2,
	/* callsign_ondisconnect_fn */
	CALLSIGN_KIND_ONDISCONNECT = 3,
	/* callsign_onrequest_fn */
	CALLSIGN_KIND_ONREQUEST = 4,
	/* callsign_onload_fn; at most one in a plugin. It is found by its kind, whatever its
	 * name. */
	CALLSIGN_KIND_ONLOAD = 5,
	/* callsign_onunload_fn; at most one in a plugin, found as an onload hook is. */
	CALLSIGN_KIND_ONUNLOAD = 6
};

/* Answers of the functions of struct callsign_host. Not negative: done. Negative: nothing was
 * done, and why. */
enum callsign_status {
	/* Done; a message leaves with the next write of this turn. */
	CALLSIGN_STATUS_SENT = 0,
	/* Done, but more than the high-water mark waits for this client: it reads slower than
	 * you send. */
	CALLSIGN_STATUS_QUEUED = 1,
	/* The connection is closing or closed (or there is none of that id). */
	CALLSIGN_STATUS_CLOSED = -1,
	/* Longer than the host's `max_message`, or a control message longer than 125 bytes. */
	CALLSIGN_STATUS_TOO_LARGE = -2,
	/* Not an opcode of callsign_op. */
	CALLSIGN_STATUS_BAD_OP = -3,
	/* CALLSIGN_OP_TEXT that is not UTF-8. */
	CALLSIGN_STATUS_BAD_UTF8 = -4,
	/* NULL where something is needed, an unknown scope, a close code that RFC 6455 section
	 * 7.4 does not let an endpoint send, a malformed header. */
	CALLSIGN_STATUS_BAD_ARGUMENT = -5,
	/* No such handler in any plugin where the name was looked for; no such timer. */
	CALLSIGN_STATUS_NOT_FOUND = -6,
	/* There is a handler of that name, of another kind. */
	CALLSIGN_STATUS_WRONG_KIND = -7,
	/* The request is not a WebSocket upgrade. */
	CALLSIGN_STATUS_NOT_UPGRADE = -8,
	/* Called from another thread than the worker's. */
	CALLSIGN_STATUS_WRONG_THREAD = -9,
	/* As much work waits for the background pool as may wait. */
	CALLSIGN_STATUS_BUSY = -10,
	/* A load, save or restore hook is running: what it does must be as if it had not been,
	 * if the load is refused in the end, so it can reach nobody. */
	CALLSIGN_STATUS_NOT_NOW = -11
};

/* What a callsign_save_fn hook answers. */
enum callsign_saved {
	/* It cannot be saved (say why with callsign_host.fail): the reload is refused. */
	CALLSIGN_SAVED_FAILED = 0,
	/* The state was given to callsign_host.save. */
	CALLSIGN_SAVED = 1,
	/* `data` is not this plugin's: it stays as it is. */
	CALLSIGN_SAVED_NOT_MINE = 2,
	/* `data` is this plugin's and is not to be carried over: the connection sees
	 * ondisconnect, by the old code, and onconnect, by the new, and stays open. */
	CALLSIGN_SAVED_RESTART = 3
};

/* Which side closed a connection, for callsign_host.closed_by. */
enum callsign_closed_by {
	/* It is open. */
	CALLSIGN_CLOSED_BY_NOBODY = 0,
	/* The client: by a Close frame, or by leaving without one. */
	CALLSIGN_CLOSED_BY_CLIENT = 1,
	/* The server: a plugin, or the host because of a violation, a limit, a failed callback,
	 * a shutdown. */
	CALLSIGN_CLOSED_BY_SERVER = 2
};

/* Methods of requests, for callsign_request.method_code (RFC 9110 section 9.3, RFC 5789); bits,
 * so that several can be told in one number. They are Kore's; 8 is reserved. */
enum callsign_method {
	/* Any other. */
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

/* Levels of callsign_host.log. */
enum callsign_level {
	/* Something failed. */
	CALLSIGN_LEVEL_ERROR = 1,
	/* Something is wrong and goes on. */
	CALLSIGN_LEVEL_WARN = 2,
	/* What an operator wants to see. */
	CALLSIGN_LEVEL_INFO = 3,
	/* What a developer wants to see. */
	CALLSIGN_LEVEL_DEBUG = 4
};

/* One WebSocket client, `struct connection` in C. Valid from its onconnect until its
 * ondisconnect returns; keep its `id`, not its address, and ask callsign_host.find. */
struct connection {
	/* The plugin's own; NULL at first. The host never looks at it. */
	void *data;
	/* Stable and never used twice while the server lives. Read only. */
	uint64_t id;
	/* For the SDK: tells whose `data` is. A plugin that sets `data` by hand leaves it alone. */
	size_t data_tag;
};

/* One HTTP request, `struct callsign_request` in C. Valid until the onrequest handler returns;
 * read only, `data` excepted. */
struct callsign_request {
	/* The handler's own; NULL at first. */
	void *data;
	/* Size of this struct in the host that made it, in bytes. */
	uint32_t struct_size;
	/* 1 if the request is a good WebSocket upgrade (RFC 6455 section 4.2.1), else 0. */
	uint32_t upgrade;
	/* "GET", ... */
	const char *method;
	/* As sent, without the query, percent-encoding kept. */
	const char *path;
	/* What follows the `?`; "" if there is none. */
	const char *query;
	/* Address and port of the client. */
	const char *peer;
	/* `body_length` bytes; never NULL. */
	const uint8_t *body;
	/* In bytes; at most the host's `max_body`. */
	size_t body_length;
	/* The Host header as sent; "" if there is none. */
	const char *host;
	/* The connection that the request may become. Its `data`, NULL at first, is the
	 * connection's own from its onconnect on; of the functions of struct callsign_host only
	 * callsign_host.peer knows it before, the others answer CALLSIGN_STATUS_CLOSED, NULL or
	 * 0. Its `id` is 0 until then. If the request does not become a connection, and `data`
	 * or `data_tag` is set, callsign_plugin.release of the handler's plugin is called for
	 * it: right after the handler, when the request is valid still, or later, when the
	 * client has left before the 101. The same if the plugin is reloaded before the 101 is
	 * written: the connection then begins with NULL, in the new copy. */
	struct connection *owner;
	/* One of callsign_method. */
	uint32_t method_code;
};

/* What a callsign_onload_fn hook is told, `struct callsign_load` in C. */
struct callsign_load {
	/* Size of this struct in the host that made it, in bytes. */
	uint32_t struct_size;
	/* 1 for the copy of the plugin that the server has started with; each reload counts one
	 * up. */
	uint32_t generation;
	/* The plugin's name, under which its handlers are called. */
	const char *plugin;
	/* The plugin's `config` table as a JSON object, UTF-8; "{}" if there is none. */
	const char *config;
	/* What callsign_plugin.save_plugin of the generation before has saved on this worker,
	 * `state_length` bytes; NULL if there is nothing. callsign_plugin.restore_plugin was
	 * given the same. */
	const void *state;
	/* In bytes. */
	size_t state_length;
	/* The callsign_plugin.state_version of the generation that has saved it. */
	uint32_t state_version;
	/* 1 in the process that tries out a new copy before any worker loads it: it ends right
	 * after this hook, serves nobody, and has nothing carried over. Refuse here what you
	 * would refuse there, and leave the rest of the world as it is. */
	uint32_t probe;
	/* The plain function that the config file names as the plugin's `onload`, if the library
	 * has one of that name beside this hook; else NULL. Its signature is the plugin's own
	 * business. */
	void (*function)(void);
};

/* A client was upgraded. [worker thread], never beside another callback of the same worker. */
typedef void (*callsign_onconnect_fn)(struct connection *c);

/* One whole message from the client. The host owns `data` until this returns. `op` is
 * CALLSIGN_OP_TEXT (valid UTF-8) or CALLSIGN_OP_BINARY (RFC 6455 section 5.6). `data` is never
 * NULL. [worker thread] */
typedef void (*callsign_onmessage_fn)(
	struct connection *c, uint8_t op, const void *data, size_t length);

/* The connection has ended. Called once for each connection that was upgraded, as the last of
 * its callbacks; callsign_host.close_code and the like still answer. [worker thread] */
typedef void (*callsign_ondisconnect_fn)(struct connection *c);

/* A request for a route. Answers 1 when the request is handled (by `respond_...` or
 * `handshake`); 0, or any other number, is an error: the client gets a 500. [worker thread] */
typedef int32_t (*callsign_onrequest_fn)(struct callsign_request *request);

/* The library was loaded; of its functions at most callsign_plugin.restore_plugin was called
 * before. Answers 1, or 0 to refuse (say why with callsign_host.fail): then the plugin is not
 * used, and a reload changes nothing. It can set timers and hand over background work, which
 * begins when the copy is in use; to clients and other workers it cannot speak yet
 * (CALLSIGN_STATUS_NOT_NOW). What it puts into a connection that has no `data` is there from the
 * time when the copy is in use; if it is refused, callsign_plugin.release of this copy is called
 * for it. [worker thread] */
typedef int32_t (*callsign_onload_fn)(const struct callsign_load *load);

/* Another generation has taken over: this copy's handlers, timers and hooks are not called any
 * more. Its code stays in memory: background work of it that was running finishes by itself, and
 * what it has handed over to be called later, or set for a request whose 101 is on its way, is
 * freed after this. Not called when the worker ends, nor for a copy that was refused. [worker
 * thread] */
typedef void (*callsign_onunload_fn)(void);

/* Saves `c->data` for the next generation: gives bytes to callsign_host.save, and answers one of
 * callsign_saved. `data` stays as it is: the reload may still be refused. Called for each
 * connection with a handler of this plugin and `data` that is not NULL. [worker thread] */
typedef int32_t (*callsign_save_fn)(struct connection *c);

/* Sets `c->data`, which is NULL, from what the callsign_save_fn hook of the generation before
 * has saved (`length` bytes at `state`) and that generation's `version`. Answers 1, or 0 if it
 * cannot (say why with callsign_host.fail): then the reload is refused. If it is refused later,
 * callsign_plugin.release of this copy is called for what was set. [worker thread] */
typedef int32_t (*callsign_restore_fn)(
	struct connection *c, uint32_t version, const void *state, size_t length);

/* Saves what is not any connection's, as callsign_save_fn does; CALLSIGN_SAVED_NOT_MINE and
 * CALLSIGN_SAVED_RESTART say that there is nothing. Each worker has its own. [worker thread] */
typedef int32_t (*callsign_save_plugin_fn)(void);

/* Takes over what callsign_save_plugin_fn has saved, as callsign_restore_fn does. Called before
 * the onload hook, not at all if nothing was saved. [worker thread] */
typedef int32_t (*callsign_restore_plugin_fn)(uint32_t version, const void *state, size_t length);

/* A message of this plugin's from worker number `worker`, sent by callsign_host.worker_send as
 * number `id`. `data` is never NULL. [worker thread], never beside or inside another callback. */
typedef void (*callsign_onworker_message_fn)(
	uint32_t worker, uint32_t id, const void *data, size_t length);

/* A timer is due, or work off the loop is done: `data` is what was handed over with it. `c` is
 * the connection that it was handed over for, open; NULL if for none. It may fail by
 * callsign_host.fail: that is logged, and closes `c` with 1011; a timer for no connection goes
 * on. [worker thread], never beside or inside another callback. */
typedef void (*callsign_onlater_fn)(void *data, struct connection *c);

/* Work that may block: `data` is its own until it returns, and nobody else's. Of struct
 * callsign_host it may call what is [any thread]. [pool thread] */
typedef void (*callsign_work_fn)(void *data);

/* Nobody will use `data` again; whatever it leads to can be freed. It may fail as
 * callsign_onlater_fn may, which is only logged. [worker thread], never beside or inside another
 * callback. */
typedef void (*callsign_free_fn)(void *data);

/* A handler's function, as its kind tells. */
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
};

/* A handler with its kind, exported as the data symbol `callsign_handler_NAME`.
 *
 * A library may instead export a plain function `NAME`: it is taken for what the route or the
 * handshake that names it says. The symbol of its own keeps a handler that is called `connect`
 * or `send` from taking the place of the C library's function of that name inside the plugin. */
struct callsign_handler {
	/* Size of this struct in the plugin, in bytes. */
	uint32_t struct_size;
	/* One of callsign_kind. */
	uint32_t kind;
	/* Not NULL. */
	union callsign_handler_function function;
};

/* The descriptor that makes a library a plugin, exported as the data symbol `callsign_plugin`.
 * It is read from the file before any of the plugin's code runs. */
struct callsign_plugin {
	/* CALLSIGN_MAGIC */
	uint64_t magic;
	/* The CALLSIGN_ABI_MAJOR that the plugin was built with. */
	uint16_t abi_major;
	/* The CALLSIGN_ABI_MINOR that the plugin was built with. */
	uint16_t abi_minor;
	/* Size of this struct in the plugin, in bytes. */
	uint32_t struct_size;
	/* UTF-8, NUL-padded; letters, digits, `-`, `_`, `.`. Empty: the host takes the file's
	 * name, without `lib` and the ending. */
	char name[CALLSIGN_NAME_SIZE];
	/* UTF-8, NUL-padded; may be empty. */
	char version[CALLSIGN_VERSION_SIZE];
	/* Of what `data` points to, and of what the save hooks write: count it up when that
	 * changes. 0: not told. */
	uint32_t state_version;
	/* 0 */
	uint32_t reserved;
	/* Where the host writes the address of its function table before it calls anything. Not
	 * NULL. */
	const struct callsign_host **host;
	/* Frees `c->data`, if it is this plugin's. Called after a connection's last callback, if
	 * one of its handlers belongs to this plugin, whether or not there was an ondisconnect
	 * handler. At a reload it is called for what the other generation has taken over, in the
	 * copy that has made it: in the old one when the new one was accepted, in the new one
	 * when it was refused. May be NULL. [worker thread] */
	void (*release)(struct connection *c);
	/* May be NULL. Without `save` in the old generation and `restore` in the new, `data`
	 * that is not NULL is carried over as it is if both have the same `state_version`, not
	 * 0; else the connection sees ondisconnect by the old code and onconnect by the new, and
	 * stays open. */
	callsign_save_fn save;
	/* May be NULL. */
	callsign_restore_fn restore;
	/* May be NULL. */
	callsign_save_plugin_fn save_plugin;
	/* May be NULL. */
	callsign_restore_plugin_fn restore_plugin;
};

/* The host's functions. One table for the process, valid as long as it lives. */
struct callsign_host {
	/* Size of this struct in the host, in bytes: a function beyond it does not exist. */
	uint32_t struct_size;
	/* The host's CALLSIGN_ABI_MAJOR. */
	uint16_t abi_major;
	/* The host's CALLSIGN_ABI_MINOR. */
	uint16_t abi_minor;
	/* Sends one message to one client. `op`: see callsign_op. Answers a callsign_status. */
	int32_t (*send)(struct connection *c, uint8_t op, const void *data, size_t length);
	/* Sends one message to every open connection of the callsign_scope except `source`,
	 * which may be NULL. Answers a callsign_status; a client that cannot take it does not
	 * count. */
	int32_t (*broadcast)(
		struct connection *source, uint8_t op, const void *data, size_t length,
		uint32_t scope);
	/* Starts the closing handshake (RFC 6455 section 7.1.2). `code` 0 sends a Close without
	 * code; the reason is `length` bytes of UTF-8, cut to 123. Messages sent before still
	 * arrive; none is received after. */
	int32_t (*close)(
		struct connection *c, uint16_t code, const char *reason, size_t length);
	/* The open connection of this worker with that id, or NULL. Valid until the callback
	 * returns in which this was called. */
	struct connection *(*find)(uint64_t id);
	/* Address and port of the client. Valid as long as the connection. */
	const char *(*peer)(const struct connection *c);
	/* The path of the request that was upgraded, as in struct callsign_request. Valid as
	 * long as the connection. */
	const char *(*path)(const struct connection *c);
	/* Its query, as in struct callsign_request. Valid as long as the connection. */
	const char *(*query)(const struct connection *c);
	/* The value of its first header of that name, in any case, or NULL. Valid as long as the
	 * connection. */
	const char *(*header)(const struct connection *c, const char *name);
	/* Its header number `index` from 0, names in lower case. Answers 1, or 0 behind the
	 * last. */
	int32_t (*header_at)(
		const struct connection *c, size_t index, const char **name, const char **value);
	/* How the connection closed: the code of the first Close frame, sent or received; 1005
	 * if that had none, 1006 if the connection ended without one (RFC 6455 section 7.1.5). 0
	 * while it is open. */
	uint16_t (*close_code)(const struct connection *c);
	/* The reason that came with that code; "" without one. Valid as long as the connection. */
	const char *(*close_reason)(const struct connection *c);
	/* One of callsign_closed_by. */
	uint32_t (*closed_by)(const struct connection *c);
	/* The value of the request's first header of that name, in any case, or NULL. */
	const char *(*request_header)(
		const struct callsign_request *request, const char *name);
	/* The request's header number `index`, as callsign_host.header_at. */
	int32_t (*request_header_at)(
		const struct callsign_request *request, size_t index, const char **name,
		const char **value);
	/* The answer's status, 200 to 599; 200 if this is not called. Answers a callsign_status:
	 * CALLSIGN_STATUS_BAD_ARGUMENT for another number, which changes nothing. */
	int32_t (*respond_status)(struct callsign_request *request, uint16_t status);
	/* Adds a header to the answer, be it a 101. The host owns Content-Length, Date,
	 * Connection, Transfer-Encoding, Upgrade and Sec-WebSocket-Accept, and refuses them.
	 * Answers a callsign_status: CALLSIGN_STATUS_BAD_ARGUMENT for those, for what is no
	 * header, and for more than a thousand. */
	int32_t (*respond_header)(
		struct callsign_request *request, const char *name, const char *value);
	/* Sets the answer's body, which is copied. Answers a callsign_status. */
	int32_t (*respond_body)(
		struct callsign_request *request, const void *data, size_t length);
	/* Upgrades the request and binds three handlers, by name, to the connection: `name` is
	 * looked for in the plugin that asks, then in the others in load order; `plugin:name` in
	 * that plugin alone. NULL: that event is ignored. All are looked up before the 101 is
	 * sent; if one is missing or of another kind, the client gets a 500 and the log says
	 * which. A name that is not UTF-8 is one that does not exist. Answers a callsign_status:
	 * CALLSIGN_STATUS_NOT_FOUND, CALLSIGN_STATUS_WRONG_KIND, CALLSIGN_STATUS_NOT_UPGRADE;
	 * the last call counts, and the handler answers 1 whatever this has answered. */
	int32_t (*handshake)(
		struct callsign_request *request, const char *onconnect, const char *onmessage,
		const char *ondisconnect);
	/* Writes `length` bytes of UTF-8 to the server's log, with the plugin's name. `caller`
	 * is the plugin's callsign_plugin.host, which tells the host who calls; an unknown one
	 * is logged as `?`. [any thread] */
	void (*log)(
		const struct callsign_host *const *caller, uint32_t level, const char *message,
		size_t length);
	/* Says that the callback that is running has failed, and why: it is logged with plugin
	 * and handler; a connection closes with 1011, a request is answered 500, a load is
	 * refused. `file` may be NULL. The last call counts. Answers a callsign_status:
	 * CALLSIGN_STATUS_WRONG_THREAD where no callback runs. */
	int32_t (*fail)(
		const char *message, size_t length, const char *file, uint32_t line);
	/* 1 while a callback runs on the calling thread, else 0. [any thread] */
	int32_t (*in_callback)(void);
	/* An optional ability by name and version ("name/1"): the address of its own table, or
	 * NULL. None is offered yet. [any thread] */
	const void *(*extension)(const char *name);
	/* Has `call` called after `delay_ms` milliseconds, and if `repeat_ms` is not 0 every
	 * `repeat_ms` milliseconds after that. Times are counted from the first, so they do not
	 * drift; those that a busy worker has missed are left out. `caller`: as for
	 * callsign_host.log.
	 *
	 * `connection` is the connection.id of an open connection of this worker, with which the
	 * timer ends, or 0 for none. While that connection is closing the timer does not run.
	 *
	 * `data` is the timer's until `free`, which may be NULL, is called with it, once: soon
	 * after the last firing, after callsign_host.timer_remove, after the last callback and
	 * the release hook of its connection, or when this copy of the plugin is replaced or its
	 * worker stops. Answers the timer's id, never used twice by a worker, or 0: then there
	 * is no timer, `free` is not called and `data` stays the caller's. It fails if `call` is
	 * NULL, `caller` unknown, the connection closing or not there, or the thread wrong. */
	uint64_t (*timer_add)(
		const struct callsign_host *const *caller, uint64_t connection, uint64_t delay_ms,
		uint64_t repeat_ms, callsign_onlater_fn call, void *data, callsign_free_fn free);
	/* Ends a timer; it may be the one whose callback is running. Its `free` is called soon
	 * after, when no callback runs. Answers a callsign_status: CALLSIGN_STATUS_NOT_FOUND if
	 * it has ended already, CALLSIGN_STATUS_NOT_NOW for a timer of a copy in use while a
	 * load, save or restore hook runs. */
	int32_t (*timer_remove)(uint64_t id);
	/* Has `work` called on the background pool, as soon as one of its threads is free, and
	 * then `done`, which may be NULL, on the worker's. Results come in the order in which
	 * work ends. `caller`: as for callsign_host.log.
	 *
	 * `connection` is the id of an open connection of this worker, or 0 for none. When it
	 * closes before `work` has begun, `work` is not called; when it closes before `done`,
	 * `done` is not called. So work that has to be done even if the client leaves is handed
	 * over for none.
	 *
	 * `data` is the work's until `free`, which may be NULL, is called with it, once: after
	 * `done`, or in its place. (It is not called for work that still runs when the worker
	 * stops and `drain_timeout` is over.) Answers a callsign_status; if negative, nothing is
	 * called and `data` stays the caller's: CALLSIGN_STATUS_BUSY if too much work waits,
	 * CALLSIGN_STATUS_CLOSED, CALLSIGN_STATUS_BAD_ARGUMENT if `work` is NULL or `caller`
	 * unknown. */
	int32_t (*background)(
		const struct callsign_host *const *caller, uint64_t connection,
		callsign_work_fn work, callsign_onlater_fn done, void *data, callsign_free_fn free);
	/* In a save hook: the state, which is copied. The last call counts. Answers a
	 * callsign_status: CALLSIGN_STATUS_NOT_NOW elsewhere. */
	int32_t (*save)(const void *data, size_t length);
	/* This worker's number, from 0. [any thread] */
	uint32_t (*worker_index)(void);
	/* How many workers there are. [any thread] */
	uint32_t (*worker_count)(void);
	/* Sends a message to this plugin on another worker, or on all others
	 * (CALLSIGN_ALL_WORKERS), where it reaches what callsign_host.worker_receive was told
	 * for `id`. In order per sender; lost if that worker has no receiver for it, or dies.
	 * `caller`: as for callsign_host.log. Answers a callsign_status:
	 * CALLSIGN_STATUS_NOT_FOUND if there is no such worker or it is this one,
	 * CALLSIGN_STATUS_TOO_LARGE above the host's `max_message`, CALLSIGN_STATUS_BAD_ARGUMENT
	 * if `caller` is unknown. All others are none where there is one worker: SENT. */
	int32_t (*worker_send)(
		const struct callsign_host *const *caller, uint32_t worker, uint32_t id,
		const void *data, size_t length);
	/* Has `call` called with each message of that `id` from this plugin on other workers;
	 * NULL: no more. It ends with this copy of the plugin. Answers a callsign_status:
	 * CALLSIGN_STATUS_BAD_ARGUMENT if `caller` is unknown, CALLSIGN_STATUS_NOT_NOW for a
	 * copy in use while a load, save or restore hook runs. */
	int32_t (*worker_receive)(
		const struct callsign_host *const *caller, uint32_t id,
		callsign_onworker_message_fn call);
};

/* ---- Convenience: from here on macros and static inline functions, which call what is above. ----
 *
 * A plugin says what it is once, at the top level of one of its source files:
 *
 *	CALLSIGN_PLUGIN("chat", "1.0");
 *
 * Its handlers are plain functions with external linkage (in C++ `extern "C"`), which are called by
 * their names; or, so that the host can check their kinds, functions of any linkage with a line
 * behind them:
 *
 *	static void join(struct connection *c) { callsign_text(c, "welcome"); }
 *	CALLSIGN_ONCONNECT(join);
 *
 * All functions of the plugin, in all of its source files, may call the functions below. Each is
 * described at the function of struct callsign_host that it calls, and has its thread and its
 * answers. What the host is too old for, and everything where no host has loaded the library (in
 * a test of the plugin's own, say), does nothing and answers CALLSIGN_NO_HOST, NULL or 0. */

/* Not an answer of a host: there is none, or it does not have this function. */
#define CALLSIGN_NO_HOST INT32_MIN

#ifdef __cplusplus
#define CALLSIGN_DECLARE_ extern "C"
#else
#define CALLSIGN_DECLARE_ extern
#endif
#define CALLSIGN_EXPORTED_ __attribute__((visibility("default")))

/* The host's functions; NULL where no host has loaded the library. One for all source files of a
 * plugin, and none of any other library. */
extern const struct callsign_host *callsign_host_table;
__attribute__((weak, visibility("hidden"))) const struct callsign_host *callsign_host_table;

/* Whether the host has a function, named as in struct callsign_host. */
#define CALLSIGN_HOST_HAS(function) \
	(callsign_host_table != NULL && \
		offsetof(struct callsign_host, function) + sizeof callsign_host_table->function <= \
			callsign_host_table->struct_size)

/* ---- What a plugin exports ---- */

extern const struct callsign_plugin callsign_plugin CALLSIGN_EXPORTED_;

/* Makes the library a plugin of that name ("": the file's) and version, both string literals. */
#define CALLSIGN_PLUGIN(name, version) \
	CALLSIGN_PLUGIN_HOOKS(name, version, 0, NULL, NULL, NULL, NULL, NULL)

/* The same with hooks, in their order in struct callsign_plugin; each may be NULL. */
#define CALLSIGN_PLUGIN_HOOKS( \
	name, version, state_version, release, save, restore, save_plugin, restore_plugin) \
	const struct callsign_plugin callsign_plugin = {CALLSIGN_MAGIC, CALLSIGN_ABI_MAJOR, \
		CALLSIGN_ABI_MINOR, sizeof(struct callsign_plugin), name, version, state_version, 0, \
		&callsign_host_table, release, save, restore, save_plugin, restore_plugin}

#if !defined __cplusplus || __cplusplus >= 202002L
/* The same with hooks by name: CALLSIGN_PLUGIN_WITH("chat", "1.0", .release = forget). */
#define CALLSIGN_PLUGIN_WITH(plugin_name, plugin_version, ...) \
	const struct callsign_plugin callsign_plugin = {.magic = CALLSIGN_MAGIC, \
		.abi_major = CALLSIGN_ABI_MAJOR, .abi_minor = CALLSIGN_ABI_MINOR, \
		.struct_size = sizeof(struct callsign_plugin), .name = plugin_name, \
		.version = plugin_version, .host = &callsign_host_table, __VA_ARGS__}
#endif

/* Each exports the function `name`, declared before, as a handler or hook of that kind. A function
 * of another signature does not compile. */
#define CALLSIGN_ONCONNECT(name) \
	CALLSIGN_HANDLER_(name, CALLSIGN_KIND_ONCONNECT, callsign_onconnect_fn)
#define CALLSIGN_ONMESSAGE(name) \
	CALLSIGN_HANDLER_(name, CALLSIGN_KIND_ONMESSAGE, callsign_onmessage_fn)
#define CALLSIGN_ONDISCONNECT(name) \
	CALLSIGN_HANDLER_(name, CALLSIGN_KIND_ONDISCONNECT, callsign_ondisconnect_fn)
#define CALLSIGN_ONREQUEST(name) \
	CALLSIGN_HANDLER_(name, CALLSIGN_KIND_ONREQUEST, callsign_onrequest_fn)
#define CALLSIGN_ONLOAD(name) \
	CALLSIGN_HANDLER_(name, CALLSIGN_KIND_ONLOAD, callsign_onload_fn)
#define CALLSIGN_ONUNLOAD(name) \
	CALLSIGN_HANDLER_(name, CALLSIGN_KIND_ONUNLOAD, callsign_onunload_fn)

/* The same bytes as a struct callsign_handler; the type of the function is checked. */
#define CALLSIGN_HANDLER_(name, code, type) \
	struct callsign_handler_of_##name { \
		uint32_t struct_size, kind; \
		type function; \
	}; \
	CALLSIGN_DECLARE_ const struct callsign_handler_of_##name callsign_handler_##name \
		CALLSIGN_EXPORTED_; \
	const struct callsign_handler_of_##name callsign_handler_##name = { \
		sizeof(struct callsign_handler), code, name}

/* ---- Connections ---- */

static inline int32_t callsign_send(
	struct connection *c, uint8_t op, const void *data, size_t length)
{
	return CALLSIGN_HOST_HAS(send) ? callsign_host_table->send(c, op, data, length) :
		CALLSIGN_NO_HOST;
}

/* Sends a string as a text message. CALLSIGN_STATUS_BAD_ARGUMENT for NULL. */
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

/* Broadcasts a string as a text message. CALLSIGN_STATUS_BAD_ARGUMENT for NULL. */
static inline int32_t callsign_broadcast_text(
	struct connection *source, const char *text, uint32_t scope)
{
	return text == NULL ? (int32_t)CALLSIGN_STATUS_BAD_ARGUMENT :
		callsign_broadcast(source, CALLSIGN_OP_TEXT, text, strlen(text), scope);
}

/* `reason` is a string; NULL: none. */
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

/* Status, Content-Type and body at once, and what an onrequest handler then answers: 1, or 0 if
 * the host has refused any of it. */
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

/* ---- The log, and failures ---- */

/* Logs a string, and nothing for NULL; without a host on stderr. [any thread] */
static inline void callsign_log(uint32_t level, const char *text)
{
	if (text == NULL)
		return;
	if (CALLSIGN_HOST_HAS(log))
		callsign_host_table->log(&callsign_host_table, level, text, strlen(text));
	else
		fprintf(stderr, "%s\n", text);
}

/* Logs up to 1023 bytes, formatted as by printf; what is longer is cut. [any thread] */
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

/* Says that the running callback has failed, and why, with this place in the source. The callback
 * goes on until it returns. */
#define callsign_fail(reason) callsign_fail_at((reason), __FILE__, (uint32_t)__LINE__)

/* The same with another place. `reason` is a string; NULL: "". */
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

/* ---- Later ---- */

/* Calls `call` once, `delay_ms` milliseconds from now; `c` may be NULL, for no connection. */
static inline uint64_t callsign_after(struct connection *c, uint64_t delay_ms,
	callsign_onlater_fn call, void *data, callsign_free_fn free_data)
{
	return CALLSIGN_HOST_HAS(timer_add) ? callsign_host_table->timer_add(&callsign_host_table,
		c == NULL ? 0 : c->id, delay_ms, 0, call, data, free_data) : 0;
}

/* Calls `call` every `period_ms` milliseconds, which must not be 0, from the first period's end
 * on. */
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

/* Calls `work` on the background pool, then `done`; `c` may be NULL, for no connection. */
static inline int32_t callsign_background(struct connection *c, callsign_work_fn work,
	callsign_onlater_fn done, void *data, callsign_free_fn free_data)
{
	return CALLSIGN_HOST_HAS(background) ? callsign_host_table->background(&callsign_host_table,
		c == NULL ? 0 : c->id, work, done, data, free_data) : CALLSIGN_NO_HOST;
}

/* ---- Reloads, and other workers ---- */

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
