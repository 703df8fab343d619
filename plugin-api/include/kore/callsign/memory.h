/*
 * Memory, buffers, strings and the log of kore.h. Independent of connections and requests.
 */
#ifndef CALLSIGN_KORE_MEMORY_H
#define CALLSIGN_KORE_MEMORY_H

/* Flag of a kore_buf that kore_buf_alloc allocated. */
#define CALLSIGN_KORE_BUF_ALLOCATED 0x0001

static inline void callsign_kore_say(uint32_t level, const char *text, size_t length)
{
	if (callsign_kore_host != NULL)
		callsign_kore_host->log(&callsign_kore_host, level, text, length);
	else
		fprintf(stderr, "%.*s\n", (int)length, text);
}

static inline void callsign_kore_vlog(int priority, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
static inline void callsign_kore_vlog(int priority, const char *format, va_list args)
{
	char room[512], *text = room;
	va_list again;
	int length;
	uint32_t level = CALLSIGN_KORE_ERROR;

	switch (priority & 7) {
	case LOG_WARNING:
		level = CALLSIGN_KORE_WARN;
		break;
	case LOG_NOTICE:
	case LOG_INFO:
		level = CALLSIGN_KORE_INFO;
		break;
	case LOG_DEBUG:
		level = CALLSIGN_KORE_DEBUG;
		break;
	}
	va_copy(again, args);
	length = vsnprintf(room, sizeof room, format, args);
	if (length >= (int)sizeof room && (text = (char *)malloc((size_t)length + 1)) != NULL)
		(void)vsnprintf(text, (size_t)length + 1, format, again);
	va_end(again);
	if (text == NULL) {
		text = room;
		length = (int)sizeof room - 1;
	}
	if (length >= 0)
		callsign_kore_say(level, text, (size_t)length);
	if (text != room)
		free(text);
}

static inline void kore_log(int priority, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	callsign_kore_vlog(priority, format, args);
	va_end(args);
}

static inline void fatal(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	callsign_kore_vlog(LOG_CRIT, format, args);
	va_end(args);
	abort();
}

static inline u_int64_t kore_time_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (u_int64_t)now.tv_sec * 1000 + (u_int64_t)now.tv_nsec / 1000000;
}

static inline void *kore_malloc(size_t len)
{
	return kore_realloc(NULL, len);
}

static inline void *kore_calloc(size_t count, size_t len)
{
	void *ptr = calloc(count ? count : 1, len ? len : 1);

	if (ptr == NULL)
		fatal("out of memory: %zu times %zu bytes", count, len);
	return ptr;
}

static inline void *kore_realloc(void *ptr, size_t len)
{
	void *moved = realloc(ptr, len ? len : 1);

	if (moved == NULL)
		fatal("out of memory: %zu bytes", len);
	return moved;
}

/* The hdlr_extra of a request that has become a connection. Freed after the request, unless the handler frees it. */
CALLSIGN_KORE_SHARED void *callsign_kore_kept = NULL;

static inline void kore_free(void *ptr)
{
	void *kept = ptr;

	if (ptr != NULL)
		(void)__atomic_compare_exchange_n(&callsign_kore_kept, &kept, NULL, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	free(ptr);
}

static inline char *kore_strdup(const char *text)
{
	size_t size = strlen(text) + 1;

	return (char *)memcpy(kore_malloc(size), text, size);
}

static inline void kore_buf_init(struct kore_buf *buf, size_t initial)
{
	buf->data = initial > 0 ? (u_int8_t *)kore_malloc(initial) : NULL;
	buf->flags = 0;
	buf->length = initial;
	buf->offset = 0;
}

static inline struct kore_buf *kore_buf_alloc(size_t initial)
{
	struct kore_buf *buf = (struct kore_buf *)kore_malloc(sizeof *buf);

	kore_buf_init(buf, initial);
	buf->flags = CALLSIGN_KORE_BUF_ALLOCATED;
	return buf;
}

/* Grows the buffer to hold `len` more bytes. */
static inline void callsign_kore_buf_room(struct kore_buf *buf, size_t len)
{
	size_t length = buf->length;

	if (len > SIZE_MAX / 4 - buf->offset)
		fatal("a kore_buf exceeds the maximum size");
	if (length - buf->offset >= len)
		return;
	if (length < 64)
		length = 64;
	while (length - buf->offset < len)
		length *= 2;
	buf->data = (u_int8_t *)kore_realloc(buf->data, length);
	buf->length = length;
}

static inline void kore_buf_append(struct kore_buf *buf, const void *data, size_t len)
{
	if (len == 0)
		return;
	callsign_kore_buf_room(buf, len);
	memcpy(buf->data + buf->offset, data, len);
	buf->offset += len;
}

static inline void kore_buf_appendv(struct kore_buf *buf, const char *format, va_list args)
{
	va_list again;
	int length;

	va_copy(again, args);
	length = vsnprintf(NULL, 0, format, args);
	if (length < 0)
		fatal("kore_buf_appendv: the format `%s` is invalid", format);
	callsign_kore_buf_room(buf, (size_t)length + 1);
	(void)vsnprintf((char *)buf->data + buf->offset, (size_t)length + 1, format, again);
	va_end(again);
	buf->offset += (size_t)length;
}

static inline void kore_buf_appendf(struct kore_buf *buf, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	kore_buf_appendv(buf, format, args);
	va_end(args);
}

static inline char *kore_buf_stringify(struct kore_buf *buf, size_t *len)
{
	if (len != NULL)
		*len = buf->offset;
	kore_buf_append(buf, "", 1);
	return (char *)buf->data;
}

static inline void kore_buf_reset(struct kore_buf *buf)
{
	buf->offset = 0;
}

static inline void kore_buf_cleanup(struct kore_buf *buf)
{
	kore_free(buf->data);
	buf->data = NULL;
	buf->length = 0;
	buf->offset = 0;
}

/* Not inline: the compiler would warn that a buffer on the stack is passed to free(3). */
static void kore_buf_free(struct kore_buf *buf)
{
	int allocated;

	if (buf == NULL)
		return;
	allocated = buf->flags & CALLSIGN_KORE_BUF_ALLOCATED;
	kore_buf_cleanup(buf);
	if (allocated)
		kore_free(buf);
}

static inline u_int8_t *kore_buf_release(struct kore_buf *buf, size_t *len)
{
	u_int8_t *data = buf->data;

	*len = buf->offset;
	buf->data = NULL;
	kore_buf_free(buf);
	return data;
}

static inline void *kore_mem_find(void *data, size_t length, const void *wanted, size_t wanted_length)
{
	u_int8_t *at = (u_int8_t *)data;

	if (wanted_length == 0)
		return NULL;
	for (; length >= wanted_length; at++, length--)
		if (*at == *(const u_int8_t *)wanted && memcmp(at, wanted, wanted_length) == 0)
			return at;
	return NULL;
}

static inline void kore_buf_replace_string(struct kore_buf *buf, const char *wanted, const void *with, size_t len)
{
	struct kore_buf fresh;
	size_t from = 0, wanted_length = strlen(wanted);
	u_int8_t *found;

	if (buf->offset == 0 || (found = (u_int8_t *)kore_mem_find(buf->data, buf->offset, wanted, wanted_length)) == NULL)
		return;
	kore_buf_init(&fresh, buf->offset + len);
	while (found != NULL) {
		kore_buf_append(&fresh, buf->data + from, (size_t)(found - buf->data) - from);
		if (with != NULL)
			kore_buf_append(&fresh, with, len);
		from = (size_t)(found - buf->data) + wanted_length;
		found = (u_int8_t *)kore_mem_find(buf->data + from, buf->offset - from, wanted, wanted_length);
	}
	kore_buf_append(&fresh, buf->data + from, buf->offset - from);
	fresh.flags = buf->flags;
	kore_free(buf->data);
	*buf = fresh;
}

static inline long long kore_strtonum(const char *text, int base, long long min, long long max, int *err)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, base);
	*err = errno == 0 && end != text && *end == '\0' && number >= min && number <= max;
	return *err == KORE_RESULT_OK ? number : 0;
}

static inline u_int64_t kore_strtonum64(const char *text, int is_signed, int *err)
{
	char *end;
	u_int64_t number;

	errno = 0;
	number = is_signed ? (u_int64_t)strtoll(text, &end, 10) : (u_int64_t)strtoull(text, &end, 10);
	/* An unsigned number has no sign; strtoull would accept one. */
	*err = errno == 0 && end != text && *end == '\0' && (is_signed || strchr(text, '-') == NULL);
	return *err == KORE_RESULT_OK ? number : 0;
}

static inline double kore_strtodouble(const char *text, long double min, long double max, int *err)
{
	char *end;
	double number;

	errno = 0;
	number = strtod(text, &end);
	*err = errno != ERANGE && end != text && *end == '\0' && number >= min && number <= max;
	return *err == KORE_RESULT_OK ? number : 0;
}

static inline int kore_split_string(char *text, const char *delimiters, char **pieces, size_t count)
{
	size_t found = 0;

	if (count == 0)
		return 0;
	while (found + 1 < count) {
		text += strspn(text, delimiters);
		if (*text == '\0')
			break;
		pieces[found++] = text;
		text += strcspn(text, delimiters);
		if (*text == '\0')
			break;
		*text++ = '\0';
	}
	pieces[found] = NULL;
	return (int)found;
}

static inline size_t kore_strlcpy(char *to, const char *from, size_t size)
{
	size_t length = strlen(from), copied;

	if (size == 0)
		fatal("kore_strlcpy: the size is 0");
	copied = length < size ? length : size - 1;
	memcpy(to, from, copied);
	to[copied] = '\0';
	return length;
}

#endif
