/* A timer and worker messages: each worker tells its clients the number of clients on all workers. */
#include <kore/kore.h>
#include <kore/http.h>

#define MSG_COUNT (KORE_MSG_APP_BASE + 1)
#define MSG_HELLO (KORE_MSG_APP_BASE + 2)

#define WORKERS_MAX 256

int watch(struct http_request *);
void watch_connect(struct connection *);
void watch_message(struct connection *, u_int8_t, const void *, size_t);
void watch_disconnect(struct connection *);

/* Number of clients of each worker, by worker id. */
static u_int32_t counts[WORKERS_MAX + 1];
static u_int64_t ticks;
static struct kore_timer *timer;

static u_int32_t
total(void)
{
	u_int32_t sum = 0;
	size_t i;

	for (i = 0; i <= WORKERS_MAX; i++)
		sum += counts[i];

	return (sum);
}

static void
tick(void *arg, u_int64_t now)
{
	struct kore_buf buf;
	u_int64_t *count = arg;

	(void)now;

	(*count)++;
	kore_buf_init(&buf, 64);
	kore_buf_appendf(&buf, "tick %llu, %u here", (unsigned long long)*count, total());
	kore_websocket_broadcast(NULL, WEBSOCKET_OP_TEXT, buf.data, buf.offset, WEBSOCKET_BROADCAST_LOCAL);
	kore_buf_cleanup(&buf);
}

/* A worker, possibly this one, sends its number of clients. */
static void
count_received(struct kore_msg *msg, const void *data)
{
	if (msg->src <= WORKERS_MAX && msg->length == sizeof(u_int32_t))
		memcpy(&counts[msg->src], data, sizeof(u_int32_t));
}

static void
tell_count(u_int16_t dst)
{
	kore_msg_send(dst, MSG_COUNT, &counts[worker->id], sizeof(u_int32_t));
}

/* A worker has started; it has no clients yet. */
static void
hello_received(struct kore_msg *msg, const void *data)
{
	(void)data;

	if (msg->src == worker->id || msg->src > WORKERS_MAX)
		return;
	counts[msg->src] = 0;
	tell_count(msg->src);
}

void
kore_worker_configure(void)
{
	if (!kore_msg_register(MSG_COUNT, count_received) || !kore_msg_register(MSG_HELLO, hello_received))
		fatal("a message is registered already");

	kore_msg_send(KORE_MSG_WORKER_ALL, MSG_HELLO, NULL, 0);
	kore_log(LOG_NOTICE, "worker %u of %u begins", (unsigned)worker->id, (unsigned)worker_count);
}

void
kore_worker_teardown(void)
{
	kore_log(LOG_NOTICE, "worker %u ends after %llu ticks", (unsigned)worker->id, (unsigned long long)ticks);
}

int
watch(struct http_request *req)
{
	kore_websocket_handshake(req, "watch_connect", "watch_message", "watch_disconnect");

	return (KORE_RESULT_OK);
}

void
watch_connect(struct connection *c)
{
	(void)c;

	counts[worker->id]++;
	tell_count(KORE_MSG_WORKER_ALL);
}

/* Commands: "start" and "stop" control the timer for all clients of this worker; "count" replies to the sender. */
void
watch_message(struct connection *c, u_int8_t op, const void *data, size_t len)
{
	char text[64];
	int length;

	(void)op;

	if (len == 5 && memcmp(data, "start", 5) == 0 && timer == NULL) {
		timer = kore_timer_add(tick, 5, &ticks, 0);
	} else if (len == 4 && memcmp(data, "stop", 4) == 0 && timer != NULL) {
		kore_timer_remove(timer);
		timer = NULL;
		kore_websocket_broadcast(NULL, WEBSOCKET_OP_TEXT, "stopped", 7, WEBSOCKET_BROADCAST_LOCAL);
	} else if (len == 5 && memcmp(data, "count", 5) == 0) {
		length = snprintf(text, sizeof(text), "worker %u, %u here", (unsigned)worker->id, total());
		kore_websocket_send(c, WEBSOCKET_OP_TEXT, text, (size_t)length);
	}
}

void
watch_disconnect(struct connection *c)
{
	(void)c;

	/* After a reload, this generation has not counted the connections of the old one. */
	if (counts[worker->id] > 0)
		counts[worker->id]--;
	tell_count(KORE_MSG_WORKER_ALL);
}
