/*
 * The ABI between host and plugin, declared for kore.h. plugin-api/src/abi.rs documents it; a test compares the two.
 * Applications must not use this file.
 */
#ifndef CALLSIGN_KORE_ABI_H
#define CALLSIGN_KORE_ABI_H

#define CALLSIGN_KORE_MAGIC UINT64_C(0x6e6769736c6c6163)
#define CALLSIGN_KORE_ALL_WORKERS UINT32_MAX
#define CALLSIGN_KORE_ONLOAD 5
#define CALLSIGN_KORE_ONUNLOAD 6

enum callsign_kore_level {
	CALLSIGN_KORE_ERROR = 1,
	CALLSIGN_KORE_WARN,
	CALLSIGN_KORE_INFO,
	CALLSIGN_KORE_DEBUG
};

enum callsign_kore_status {
	CALLSIGN_KORE_CLOSED = -1,
	CALLSIGN_KORE_TOO_LARGE = -2,
	CALLSIGN_KORE_BAD_OP = -3,
	CALLSIGN_KORE_BAD_UTF8 = -4,
	CALLSIGN_KORE_BAD_ARGUMENT = -5,
	CALLSIGN_KORE_NOT_FOUND = -6,
	CALLSIGN_KORE_WRONG_THREAD = -9,
	CALLSIGN_KORE_NOT_NOW = -11
};

enum callsign_kore_saved {
	CALLSIGN_KORE_FAILED,
	CALLSIGN_KORE_SAVED
};

struct callsign_kore_load {
	uint32_t struct_size, generation;
	const char *plugin, *config;
	const void *state;
	size_t state_length;
	uint32_t state_version, probe;
	void (*function)(void);
	uint32_t worker, replaces;
};

struct callsign_kore_host {
	uint32_t struct_size;
	uint16_t abi_major, abi_minor;
	int32_t (*send)(struct connection *, uint8_t, const void *, size_t);
	int32_t (*broadcast)(struct connection *, uint8_t, const void *, size_t, uint32_t);
	int32_t (*close)(struct connection *, uint16_t, const char *, size_t);
	struct connection *(*find)(uint64_t);
	const char *(*peer)(const struct connection *);
	const char *(*path)(const struct connection *);
	const char *(*query)(const struct connection *);
	const char *(*header)(const struct connection *, const char *);
	int32_t (*header_at)(const struct connection *, size_t, const char **, const char **);
	uint16_t (*close_code)(const struct connection *);
	const char *(*close_reason)(const struct connection *);
	uint32_t (*closed_by)(const struct connection *);
	const char *(*request_header)(const struct http_request *, const char *);
	int32_t (*request_header_at)(const struct http_request *, size_t, const char **, const char **);
	int32_t (*respond_status)(struct http_request *, uint16_t);
	int32_t (*respond_header)(struct http_request *, const char *, const char *);
	int32_t (*respond_body)(struct http_request *, const void *, size_t);
	int32_t (*handshake)(struct http_request *, const char *, const char *, const char *);
	void (*log)(const struct callsign_kore_host *const *, uint32_t, const char *, size_t);
	int32_t (*fail)(const char *, size_t, const char *, uint32_t);
	int32_t (*in_callback)(void);
	const void *(*extension)(const char *);
	uint64_t (*timer_add)(const struct callsign_kore_host *const *, uint64_t, uint64_t, uint64_t,
	    void (*)(void *, struct connection *), void *, void (*)(void *));
	int32_t (*timer_remove)(uint64_t);
	int32_t (*background)(const struct callsign_kore_host *const *, uint64_t, void (*)(void *),
	    void (*)(void *, struct connection *), void *, void (*)(void *));
	int32_t (*save)(const void *, size_t);
	uint32_t (*worker_index)(void);
	uint32_t (*worker_count)(void);
	int32_t (*worker_send)(const struct callsign_kore_host *const *, uint32_t, uint32_t, const void *, size_t);
	int32_t (*worker_receive)(const struct callsign_kore_host *const *, uint32_t,
	    void (*)(uint32_t, uint32_t, const void *, size_t));
	const char *(*protocol)(const struct connection *);
	const uint8_t *(*certificate)(const struct connection *, size_t *);
	const char *(*certificate_field)(const struct connection *, uint32_t, size_t);
	const char *(*param)(const struct connection *, const char *);
	size_t (*queued)(const struct connection *);
	int32_t (*handshake_with)(struct http_request *, const void *);
	int32_t (*is_secure)(const struct connection *);
};

struct callsign_kore_plugin {
	uint64_t magic;
	uint16_t abi_major, abi_minor;
	uint32_t struct_size;
	char name[64], version[32];
	uint32_t state_version, reserved;
	const struct callsign_kore_host **host;
	void (*release)(struct connection *);
	int32_t (*save)(struct connection *);
	int32_t (*restore)(struct connection *, uint32_t, const void *, size_t);
	int32_t (*save_plugin)(void);
	int32_t (*restore_plugin)(uint32_t, const void *, size_t);
};

struct callsign_kore_handler {
	uint32_t struct_size, kind;
	void (*function)(void);
};

/*
 * All files of the library that include the headers share one definition. EXPORTED is visible to the host, SHARED is
 * hidden from other libraries.
 */
#if defined(__cplusplus)
/* In C++, a constant without extern has internal linkage. */
#define CALLSIGN_KORE_EXPORTED extern __attribute__((weak, visibility("default")))
#else
#define CALLSIGN_KORE_EXPORTED __attribute__((weak, visibility("default")))
#endif
#define CALLSIGN_KORE_SHARED __attribute__((weak, visibility("hidden")))

/* The host's function table. The host writes it before it calls any function of the plugin. */
CALLSIGN_KORE_SHARED const struct callsign_kore_host *callsign_kore_host = NULL;

#endif
