/* The type of every field of ABI 1.0, in particular the signatures of functions, which plugins built against ABI 1.0
 * rely on. Existing lines must not change; new fields are appended to the list of their struct. */
#include <callsign.h>

#define IS(record, field, ...) \
	_Static_assert(__builtin_types_compatible_p(__typeof__(((record *)0)->field), __VA_ARGS__), \
		#record ": " #field " differs from ABI 1.0")

IS(struct connection, data, void *);
IS(struct connection, id, uint64_t);
IS(struct connection, data_tag, size_t);

IS(struct callsign_request, data, void *);
IS(struct callsign_request, struct_size, uint32_t);
IS(struct callsign_request, upgrade, uint32_t);
IS(struct callsign_request, method, const char *);
IS(struct callsign_request, path, const char *);
IS(struct callsign_request, query, const char *);
IS(struct callsign_request, peer, const char *);
IS(struct callsign_request, body, const uint8_t *);
IS(struct callsign_request, body_length, size_t);
IS(struct callsign_request, host, const char *);
IS(struct callsign_request, owner, struct connection *);
IS(struct callsign_request, method_code, uint32_t);
IS(struct callsign_request, status, uint32_t); /* ABI 1.1 */

IS(struct callsign_load, struct_size, uint32_t);
IS(struct callsign_load, generation, uint32_t);
IS(struct callsign_load, plugin, const char *);
IS(struct callsign_load, config, const char *);
IS(struct callsign_load, state, const void *);
IS(struct callsign_load, state_length, size_t);
IS(struct callsign_load, state_version, uint32_t);
IS(struct callsign_load, probe, uint32_t);
IS(struct callsign_load, function, void (*)(void));
IS(struct callsign_load, worker, uint32_t);
IS(struct callsign_load, replaces, uint32_t);

IS(union callsign_handler_function, onconnect, void (*)(struct connection *));
IS(union callsign_handler_function, onmessage, void (*)(struct connection *, uint8_t, const void *,
	size_t));
IS(union callsign_handler_function, ondisconnect, void (*)(struct connection *));
IS(union callsign_handler_function, onrequest, int32_t (*)(struct callsign_request *));
IS(union callsign_handler_function, onload, int32_t (*)(const struct callsign_load *));
IS(union callsign_handler_function, onunload, void (*)(void));

IS(struct callsign_handler, struct_size, uint32_t);
IS(struct callsign_handler, kind, uint32_t);
IS(struct callsign_handler, function, union callsign_handler_function);

IS(struct callsign_guard, struct_size, uint32_t);
IS(struct callsign_guard, reserved, uint32_t);
IS(struct callsign_guard, call, int32_t (*)(void (*)(void *), void *, char *, size_t));

IS(struct callsign_plugin, magic, uint64_t);
IS(struct callsign_plugin, abi_major, uint16_t);
IS(struct callsign_plugin, abi_minor, uint16_t);
IS(struct callsign_plugin, struct_size, uint32_t);
IS(struct callsign_plugin, name, char[64]);
IS(struct callsign_plugin, version, char[32]);
IS(struct callsign_plugin, state_version, uint32_t);
IS(struct callsign_plugin, reserved, uint32_t);
IS(struct callsign_plugin, host, const struct callsign_host **);
IS(struct callsign_plugin, release, void (*)(struct connection *));
IS(struct callsign_plugin, save, int32_t (*)(struct connection *));
IS(struct callsign_plugin, restore, int32_t (*)(struct connection *, uint32_t, const void *,
	size_t));
IS(struct callsign_plugin, save_plugin, int32_t (*)(void));
IS(struct callsign_plugin, restore_plugin, int32_t (*)(uint32_t, const void *, size_t));

IS(struct callsign_host, struct_size, uint32_t);
IS(struct callsign_host, abi_major, uint16_t);
IS(struct callsign_host, abi_minor, uint16_t);
IS(struct callsign_host, send, int32_t (*)(struct connection *, uint8_t, const void *, size_t));
IS(struct callsign_host, broadcast, int32_t (*)(struct connection *, uint8_t, const void *, size_t,
	uint32_t));
IS(struct callsign_host, close, int32_t (*)(struct connection *, uint16_t, const char *, size_t));
IS(struct callsign_host, find, struct connection *(*)(uint64_t));
IS(struct callsign_host, peer, const char *(*)(const struct connection *));
IS(struct callsign_host, path, const char *(*)(const struct connection *));
IS(struct callsign_host, query, const char *(*)(const struct connection *));
IS(struct callsign_host, header, const char *(*)(const struct connection *, const char *));
IS(struct callsign_host, header_at, int32_t (*)(const struct connection *, size_t, const char **,
	const char **));
IS(struct callsign_host, close_code, uint16_t (*)(const struct connection *));
IS(struct callsign_host, close_reason, const char *(*)(const struct connection *));
IS(struct callsign_host, closed_by, uint32_t (*)(const struct connection *));
IS(struct callsign_host, request_header, const char *(*)(const struct callsign_request *, const char
	*));
IS(struct callsign_host, request_header_at, int32_t (*)(const struct callsign_request *, size_t,
	const char **, const char **));
IS(struct callsign_host, respond_status, int32_t (*)(struct callsign_request *, uint16_t));
IS(struct callsign_host, respond_header, int32_t (*)(struct callsign_request *, const char *, const
	char *));
IS(struct callsign_host, respond_body, int32_t (*)(struct callsign_request *, const void *,
	size_t));
IS(struct callsign_host, handshake, int32_t (*)(struct callsign_request *, const char *, const char
	*, const char *));
IS(struct callsign_host, log, void (*)(const struct callsign_host *const *, uint32_t, const char *,
	size_t));
IS(struct callsign_host, fail, int32_t (*)(const char *, size_t, const char *, uint32_t));
IS(struct callsign_host, in_callback, int32_t (*)(void));
IS(struct callsign_host, extension, const void *(*)(const char *));
IS(struct callsign_host, timer_add, uint64_t (*)(const struct callsign_host *const *, uint64_t,
	uint64_t, uint64_t, void (*)(void *, struct connection *), void *, void (*)(void *)));
IS(struct callsign_host, timer_remove, int32_t (*)(uint64_t));
IS(struct callsign_host, background, int32_t (*)(const struct callsign_host *const *, uint64_t, void
	(*)(void *), void (*)(void *, struct connection *), void *, void (*)(void *)));
IS(struct callsign_host, save, int32_t (*)(const void *, size_t));
IS(struct callsign_host, worker_index, uint32_t (*)(void));
IS(struct callsign_host, worker_count, uint32_t (*)(void));
IS(struct callsign_host, worker_send, int32_t (*)(const struct callsign_host *const *, uint32_t,
	uint32_t, const void *, size_t));
IS(struct callsign_host, worker_receive, int32_t (*)(const struct callsign_host *const *, uint32_t,
	void (*)(uint32_t, uint32_t, const void *, size_t)));
/* ABI 1.1 */
IS(struct callsign_host, protocol, const char *(*)(const struct connection *));
IS(struct callsign_host, certificate, const uint8_t *(*)(const struct connection *, size_t *));
IS(struct callsign_host, certificate_field, const char *(*)(const struct connection *, uint32_t,
	size_t));
IS(struct callsign_host, param, const char *(*)(const struct connection *, const char *));
IS(struct callsign_host, queued, size_t (*)(const struct connection *));
IS(struct callsign_host, handshake_with, int32_t (*)(struct callsign_request *, const struct callsign_handshake *));
IS(struct callsign_host, is_secure, int32_t (*)(const struct connection *));

IS(struct callsign_handshake, struct_size, uint32_t);
IS(struct callsign_handshake, reserved, uint32_t);
IS(struct callsign_handshake, onconnect, const char *);
IS(struct callsign_handshake, onmessage, const char *);
IS(struct callsign_handshake, ondisconnect, const char *);
IS(struct callsign_handshake, ondrain, const char *);
