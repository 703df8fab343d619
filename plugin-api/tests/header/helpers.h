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
