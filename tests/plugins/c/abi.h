/* The ABI as a test plugin in C sees it: written by hand from plugin-api/src/abi.rs, so that a change there
 * which breaks plugins in C breaks a test. */
#include <stddef.h>
#include <stdint.h>

struct connection {
	void *data;
	uint64_t id;
	uintptr_t data_tag;
};

struct callsign_request {
	void *data;
	uint32_t struct_size;
	uint32_t upgrade;
	const char *method, *path, *query, *peer;
	const uint8_t *body;
	size_t body_length;
};

struct callsign_load {
	uint32_t struct_size;
	uint32_t generation;
	const char *plugin, *config;
	const void *state;
	size_t state_length;
	uint32_t state_version, probe;
};

struct callsign_host {
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
	const char *(*request_header)(const struct callsign_request *, const char *);
	int32_t (*request_header_at)(const struct callsign_request *, size_t, const char **, const char **);
	int32_t (*respond_status)(struct callsign_request *, uint16_t);
	int32_t (*respond_header)(struct callsign_request *, const char *, const char *);
	int32_t (*respond_body)(struct callsign_request *, const void *, size_t);
	int32_t (*handshake)(struct callsign_request *, const char *, const char *, const char *);
	void (*log)(const struct callsign_host *const *, uint32_t, const char *, size_t);
	int32_t (*fail)(const char *, size_t, const char *, uint32_t);
	int32_t (*in_callback)(void);
	const void *(*extension)(const char *);
};

struct callsign_plugin {
	uint64_t magic;
	uint16_t abi_major, abi_minor;
	uint32_t struct_size;
	char name[64], version[32];
	uint32_t state_version, reserved;
	const struct callsign_host **host;
	void (*release)(struct connection *);
	int32_t (*save)(struct connection *);
	int32_t (*restore)(struct connection *, uint32_t, const void *, size_t);
	int32_t (*save_plugin)(void);
	int32_t (*restore_plugin)(uint32_t, const void *, size_t);
};

struct callsign_handler {
	uint32_t struct_size;
	uint32_t kind;
	void (*function)(void);
};

#define CALLSIGN_MAGIC 0x6e6769736c6c6163 /* "callsign", little-endian */
enum { TEXT = 1, BINARY = 2, PING = 9, PONG = 10 };
enum { ONCONNECT = 1, ONMESSAGE, ONDISCONNECT, ONREQUEST, ONLOAD };

/* -DNAME='"left"' and the like set what a test wants otherwise. */
#ifndef NAME
#define NAME ""
#endif
#ifndef ABI_MAJOR
#define ABI_MAJOR 1
#endif
#ifndef ABI_MINOR
#define ABI_MINOR 0
#endif

static const struct callsign_host *host;

#define PLUGIN(release)                                                                                        \
	const struct callsign_plugin callsign_plugin = {CALLSIGN_MAGIC, ABI_MAJOR, ABI_MINOR,                  \
		sizeof(struct callsign_plugin), NAME, "1.2", 0, 0, &host, release, NULL, NULL, NULL, NULL}
