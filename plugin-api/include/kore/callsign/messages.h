/*
 * Timers, worker messages, the load and unload hooks, and the descriptor.
 */
#ifndef CALLSIGN_KORE_MESSAGES_H
#define CALLSIGN_KORE_MESSAGES_H

/* The longest delay of a timer; the timer never fires. */
#define CALLSIGN_KORE_NEVER UINT64_MAX

static inline void callsign_kore_fire(void *data, struct connection *c)
{
	struct kore_timer *timer = (struct kore_timer *)data;
	u_int64_t now = kore_time_ms();

	(void)c;
	timer->nextrun = now + timer->interval;
	timer->cb(timer->arg, now);
}

static inline struct kore_timer *kore_timer_add(void (*cb)(void *, u_int64_t), u_int64_t interval, void *arg, int flags)
{
	struct kore_timer *timer;
	u_int64_t repeat = flags & KORE_TIMER_ONESHOT ? 0 : interval ? interval : 1;

	if (cb == NULL) {
		kore_log(LOG_ERR, "kore_timer_add: there is nothing to call");
		return NULL;
	}
	timer = (struct kore_timer *)kore_calloc(1, sizeof *timer);
	timer->nextrun = kore_time_ms() + interval;
	timer->interval = interval;
	timer->flags = flags;
	timer->arg = arg;
	timer->cb = cb;
	timer->callsign_id = callsign_kore_host->timer_add(&callsign_kore_host, 0, interval, repeat,
	    callsign_kore_fire, timer, kore_free);
	if (timer->callsign_id == 0) {
		kore_log(LOG_ERR, "kore_timer_add: called outside the worker thread");
		kore_free(timer);
		return NULL;
	}
	return timer;
}

static inline void kore_timer_remove(struct kore_timer *timer)
{
	if (timer != NULL)
		(void)callsign_kore_host->timer_remove(timer->callsign_id);
}

CALLSIGN_KORE_SHARED struct kore_worker callsign_kore_worker = {0, 0, 0};
CALLSIGN_KORE_SHARED struct kore_worker *worker = NULL;
CALLSIGN_KORE_SHARED u_int8_t worker_count = 0;
CALLSIGN_KORE_SHARED void (*callsign_kore_receivers[256])(struct kore_msg *, const void *) = {NULL};

static inline void callsign_kore_receive(uint32_t source, uint32_t id, const void *data, size_t length)
{
	struct kore_msg msg;

	msg.id = (u_int8_t)id;
	msg.src = (u_int16_t)(source + 1);
	msg.dst = callsign_kore_worker.id;
	msg.length = length;
	if (id < 256 && callsign_kore_receivers[id] != NULL)
		callsign_kore_receivers[id](&msg, length > 0 ? data : NULL);
}

/* The last id of Kore's own messages, which begin with 1. */
#define CALLSIGN_KORE_MSG_OWN 13

static inline int kore_msg_register(u_int8_t id, void (*cb)(struct kore_msg *, const void *))
{
	if (id > 0 && id <= CALLSIGN_KORE_MSG_OWN)
		kore_log(LOG_ERR, "kore_msg_register: message id %u is one of Kore's own (1 to %d); use an id above %d",
		    (unsigned)id, CALLSIGN_KORE_MSG_OWN, KORE_MSG_APP_BASE);
	if ((id > 0 && id <= CALLSIGN_KORE_MSG_OWN) || cb == NULL || callsign_kore_receivers[id] != NULL)
		return KORE_RESULT_ERROR;
	if (callsign_kore_host->worker_receive(&callsign_kore_host, id, callsign_kore_receive) < 0)
		return KORE_RESULT_ERROR;
	callsign_kore_receivers[id] = cb;
	return KORE_RESULT_OK;
}

static inline void kore_msg_unregister(u_int8_t id)
{
	callsign_kore_receivers[id] = NULL;
	(void)callsign_kore_host->worker_receive(&callsign_kore_host, id, NULL);
}

/*
 * A worker message that a timer sends: to this worker, so that callbacks never nest, or from a load hook, which cannot
 * send yet.
 */
struct callsign_kore_later {
	u_int16_t dst;
	u_int8_t id;
	size_t length;
	u_int8_t data[];
};

static inline void callsign_kore_send_later(void *data, struct connection *c)
{
	struct callsign_kore_later *later = (struct callsign_kore_later *)data;

	(void)c;
	if (later->dst == callsign_kore_worker.id)
		callsign_kore_receive((uint32_t)callsign_kore_worker.id - 1, later->id, later->data, later->length);
	else
		kore_msg_send(later->dst, later->id, later->data, later->length);
}

static inline void callsign_kore_postpone(u_int16_t dst, u_int8_t id, const void *data, size_t len)
{
	/* One byte more: a NUL follows the data, as in messages from other workers. */
	struct callsign_kore_later *later = (struct callsign_kore_later *)kore_calloc(1, sizeof *later + len + 1);

	later->dst = dst;
	later->id = id;
	later->length = len;
	if (len > 0)
		memcpy(later->data, data, len);
	if (callsign_kore_host->timer_add(&callsign_kore_host, 0, 0, 0, callsign_kore_send_later, later, kore_free) == 0) {
		kore_log(LOG_ERR, "kore_msg_send: called outside the worker thread");
		kore_free(later);
	}
}

static inline void kore_msg_send(u_int16_t dst, u_int8_t id, const void *data, size_t len)
{
	int all = dst == KORE_MSG_WORKER_ALL;
	/* Worker ids of Kore start with 1, worker numbers of the host with 0. */
	uint32_t target = all ? CALLSIGN_KORE_ALL_WORKERS : (uint32_t)dst - 1;
	int32_t status;

	if (data == NULL)
		len = 0;
	if (dst == callsign_kore_worker.id) {
		callsign_kore_postpone(dst, id, data, len);
		return;
	}
	status = dst == 0 ? CALLSIGN_KORE_NOT_FOUND
			  : callsign_kore_host->worker_send(&callsign_kore_host, target, id, data, len);
	if (status == CALLSIGN_KORE_NOT_NOW)
		callsign_kore_postpone(dst, id, data, len);
	else if (status == CALLSIGN_KORE_NOT_FOUND)
		kore_log(LOG_NOTICE, "kore_msg_send: there is no worker %u", (unsigned)dst);
	else if (status == CALLSIGN_KORE_TOO_LARGE)
		kore_log(LOG_ERR, "kore_msg_send: %zu bytes are more than a message may have", len);
	else if (status < 0)
		kore_log(LOG_ERR, "kore_msg_send: message %u to worker %u was not sent (status %d)", (unsigned)id,
		    (unsigned)dst, (int)status);
	else if (all)
		callsign_kore_postpone(callsign_kore_worker.id, id, data, len);
}

/* The function that the config file names as `onload`. */
CALLSIGN_KORE_SHARED int (*callsign_kore_module)(int) = NULL;

static inline void callsign_kore_wait(void *data, struct connection *c)
{
	(void)data;
	(void)c;
}

static inline void callsign_kore_teardown(void *data)
{
	(void)data;
	kore_worker_teardown();
}

static inline void kore_default_getopt(int argc, char **argv)
{
	(void)argc;
	(void)argv;
}

/* Logs which hooks of the application are not called as in Kore. */
static inline void callsign_kore_report_hooks(void)
{
	if (kore_parent_configure)
		kore_log(LOG_WARNING, "kore_parent_configure runs in every worker, not in the parent: memory that it maps, and "
		    "files and sockets that it opens, are not shared by the workers. Use worker messages instead, or serve "
		    "with one worker");
	if (kore_parent_daemonized)
		kore_log(LOG_WARNING, "kore_parent_daemonized is never called: no code of a plugin runs in the parent");
	if (kore_parent_teardown)
		kore_log(LOG_WARNING, "kore_parent_teardown is never called: no code of a plugin runs in the parent; "
		    "define kore_worker_teardown instead");
	if (kore_worker_signal)
		kore_log(LOG_WARNING, "kore_worker_signal is never called: the server handles the signals");
	if (kore_seccomp_hook)
		kore_log(LOG_WARNING, "kore_seccomp_hook is never called: there is no seccomp filter; "
		    "restrict the server's process instead");
}

static inline int32_t callsign_kore_load(const struct callsign_kore_load *load)
{
	static char *no_arguments[] = {NULL, NULL};
	uint32_t count;

	callsign_kore_worker.id = (u_int16_t)(callsign_kore_host->worker_index() + 1);
	callsign_kore_worker.pid = getpid();
	worker = &callsign_kore_worker;
	count = callsign_kore_host->worker_count();
	worker_count = (u_int8_t)(count < UINT8_MAX ? count : UINT8_MAX);
	/* Once, not in every worker. */
	if (!load->probe && callsign_kore_worker.id == 1)
		callsign_kore_report_hooks();
	if (kore_parent_configure)
		kore_parent_configure(0, no_arguments);
	if (load->function != NULL) {
		/* The plugin defines the signature; in Kore it is int (int). */
		callsign_kore_module = (int (*)(int))load->function;
		if (callsign_kore_module(KORE_MODULE_LOAD) == KORE_RESULT_ERROR)
			return KORE_RESULT_ERROR;
	}
	if (load->probe)
		return KORE_RESULT_OK;
	if (kore_worker_configure)
		kore_worker_configure();
	/* The host frees this timer when the worker exits or a new generation replaces this one. */
	if (kore_worker_teardown)
		(void)callsign_kore_host->timer_add(&callsign_kore_host, 0, CALLSIGN_KORE_NEVER, 0,
		    callsign_kore_wait, NULL, callsign_kore_teardown);
	return KORE_RESULT_OK;
}

static inline void callsign_kore_unload(void)
{
	if (callsign_kore_module != NULL)
		(void)callsign_kore_module(KORE_MODULE_UNLOAD);
}

static inline int callsign_keep(const void *state, size_t length)
{
	return callsign_kore_host->save(state, length) < 0 ? KORE_RESULT_ERROR : KORE_RESULT_OK;
}

CALLSIGN_KORE_EXPORTED const struct callsign_kore_handler callsign_handler_kore_onload = {
	sizeof(struct callsign_kore_handler), CALLSIGN_KORE_ONLOAD, (void (*)(void))callsign_kore_load};
CALLSIGN_KORE_EXPORTED const struct callsign_kore_handler callsign_handler_kore_onunload = {
	sizeof(struct callsign_kore_handler), CALLSIGN_KORE_ONUNLOAD, callsign_kore_unload};

/* Hooks that the application does not define are NULL. */
CALLSIGN_KORE_EXPORTED const struct callsign_kore_plugin callsign_plugin = {CALLSIGN_KORE_MAGIC, 1, 0,
	sizeof(struct callsign_kore_plugin), CALLSIGN_NAME, CALLSIGN_VERSION, CALLSIGN_STATE_VERSION, 0,
	&callsign_kore_host, callsign_kore_release, callsign_save, callsign_restore, callsign_save_plugin,
	callsign_restore_plugin};

#endif
