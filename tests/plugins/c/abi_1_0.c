/* A plugin as it was built against ABI 1.0. It has that ABI's declarations with it, and this file is not to be
 * changed: it stands for binaries that nobody builds again. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct connection {
	void *data;
	uint64_t id;
	size_t data_tag;
};

struct request {
	void *data;
	uint32_t struct_size, upgrade;
	const char *method, *path, *query, *peer;
	const uint8_t *body;
	size_t body_length;
	const char *host;
	struct connection *owner;
	uint32_t method_code;
};

struct load {
	uint32_t struct_size, generation;
	const char *plugin, *config;
	const void *state;
	size_t state_length;
	uint32_t state_version, probe;
	void (*function)(void);
};

struct host {
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
	const char *(*request_header)(const struct request *, const char *);
	int32_t (*request_header_at)(const struct request *, size_t, const char **, const char **);
	int32_t (*respond_status)(struct request *, uint16_t);
	int32_t (*respond_header)(struct request *, const char *, const char *);
	int32_t (*respond_body)(struct request *, const void *, size_t);
	int32_t (*handshake)(struct request *, const char *, const char *, const char *);
	void (*log)(const struct host *const *, uint32_t, const char *, size_t);
	int32_t (*fail)(const char *, size_t, const char *, uint32_t);
	int32_t (*in_callback)(void);
	const void *(*extension)(const char *);
	uint64_t (*timer_add)(const struct host *const *, uint64_t, uint64_t, uint64_t,
		void (*)(void *, struct connection *), void *, void (*)(void *));
	int32_t (*timer_remove)(uint64_t);
	int32_t (*background)(const struct host *const *, uint64_t, void (*)(void *),
		void (*)(void *, struct connection *), void *, void (*)(void *));
	int32_t (*save)(const void *, size_t);
	uint32_t (*worker_index)(void);
	uint32_t (*worker_count)(void);
	int32_t (*worker_send)(const struct host *const *, uint32_t, uint32_t, const void *, size_t);
	int32_t (*worker_receive)(
		const struct host *const *, uint32_t, void (*)(uint32_t, uint32_t, const void *, size_t));
};

struct plugin {
	uint64_t magic;
	uint16_t abi_major, abi_minor;
	uint32_t struct_size;
	uint8_t name[64], version[32];
	uint32_t state_version, reserved;
	const struct host **host;
	void (*release)(struct connection *);
	int32_t (*save)(struct connection *);
	int32_t (*restore)(struct connection *, uint32_t, const void *, size_t);
	int32_t (*save_plugin)(void);
	int32_t (*restore_plugin)(uint32_t, const void *, size_t);
};

struct handler {
	uint32_t struct_size, kind;
	void (*function)(void);
};

static const struct host *host;
static char load_report[200];

static void release(struct connection *c)
{
	host->log(&host, 3, "released", 8);
	free(c->data);
}

const struct plugin callsign_plugin = {0x6e6769736c6c6163, 1, 0, 168, "frozen", "1.0", 1, 0, &host, release, NULL,
	NULL, NULL, NULL};

#define HANDLER(name, kind) \
	const struct handler callsign_handler_##name = {16, kind, (void (*)(void))name}

static int32_t load(const struct load *load)
{
	snprintf(load_report, sizeof load_report, "load %d generation %u plugin %s config %s state %d probe %u function %d",
		load->struct_size >= 56, load->generation, load->plugin, load->config, load->state != NULL,
		load->probe, load->function != NULL);
	return 1;
}
HANDLER(load, 5);

static int32_t page(struct request *request)
{
	char text[400];
	if (request->upgrade == 1) {
		host->respond_header(request, "x-frozen", "1");
		host->handshake(request, "join", "frozen:message", "leave");
		return 1;
	}
	const char *name = NULL, *value = NULL;
	host->request_header_at(request, 0, &name, &value);
	snprintf(text, sizeof text, "%d %s %s %s %d %.*s %zu %s %u %s %s:%s %s", request->struct_size >= 88, request->method,
		request->path, request->query, request->peer != NULL, (int)request->body_length,
		(const char *)request->body, request->body_length, request->host, request->method_code, host->request_header(request, "X-One"), name,
		value, load_report);
	host->respond_status(request, 201);
	host->respond_body(request, text, strlen(text));
	return 1;
}
HANDLER(page, 4);

static void join(struct connection *c)
{
	c->data = malloc(20);
	strcpy(c->data, "data of frozen");
	host->send(c, 1, "welcome", 7);
}
HANDLER(join, 1);

static void work(void *data)
{
	strcpy(data, "worked");
}

static void done(void *data, struct connection *c)
{
	host->send(c, 1, data, strlen(data));
	host->close(c, 4001, "enough", 6);
}

static void due(void *data, struct connection *c)
{
	host->send(c, 1, "due", 3);
	if (host->background(&host, c->id, work, done, data, free) != 0)
		host->fail("no background", 13, "abi_1_0.c", 1);
}

static void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	char text[400];
	const char *name = NULL, *value = NULL;
	if (op == 2) {
		host->broadcast(c, op, data, length, 1);
		return;
	}
	host->header_at(c, 0, &name, &value);
	snprintf(text, sizeof text, "%d %u %.*s %d %d %s %s %s %s:%s %u %u %d %d %d %u of %u %d", host->struct_size >= 248,
		host->abi_major, (int)length, (const char *)data, host->find(c->id) == c,
		host->peer(c) != NULL, host->path(c), host->query(c), host->header(c, "HOST"), name, value,
		host->close_code(c), host->closed_by(c), host->in_callback(), host->extension("x/1") == NULL,
		host->timer_remove(0), host->worker_index(), host->worker_count(), host->save("x", 1));
	host->send(c, 1, text, strlen(text));
	uint64_t timer = host->timer_add(&host, 0, 1000000, 0, due, NULL, NULL);
	snprintf(text, sizeof text, "timer %d %d", timer != 0, host->timer_remove(timer));
	host->send(c, 1, text, strlen(text));
	if (host->timer_add(&host, c->id, 1, 0, due, malloc(20), NULL) == 0)
		host->fail("no timer", 8, "abi_1_0.c", 2);
}
HANDLER(message, 2);

/* By its plain name, as handlers without a kind are. */
void leave(struct connection *c)
{
	char text[200];
	snprintf(text, sizeof text, "left %u %s %u %s", host->close_code(c), host->close_reason(c), host->closed_by(c),
		(const char *)c->data);
	host->log(&host, 3, text, strlen(text));
}
