/* The chat room of example-plugins/chat, in C: `make` builds chat.so, and
 *
 *	callsign serve example-plugins/chat-c/chat.so
 *
 * serves it with its page. A text message is broadcast with the sender's name, a binary message unchanged.
 * `/name NEW` changes the sender's name; `/quit REASON` makes the server close the connection. Notices of the
 * room begin with `* `. The example shows a page and a handshake in one handler, the data of a connection, and
 * how a reload carries the data over. */
#include <callsign.h>

#include <stdlib.h>

/* `static const unsigned char page[]`: the Makefile generates it from chat.html of the chat in Rust. */
#include "page.h"

enum {
	NORMAL_CLOSURE = 1000, /* RFC 6455 section 7.4.1 */
	NAME_LETTERS_MAX = 32,
	NAME_SIZE = 4 * NAME_LETTERS_MAX + 1, /* in bytes of UTF-8, with NUL */
	COMMAND_SIZE = 1024 /* for the argument of a command; larger than any valid name or reason */
};

/* State of one client: `data` of its connection. */
struct guest {
	char name[NAME_SIZE];
};

static const char *name(const struct connection *c)
{
	return c->data == NULL ? "somebody" : ((const struct guest *)c->data)->name;
}

/* Concatenates `count` pieces and broadcasts the text to all clients except `source`. */
static void tell(struct connection *source, size_t count, const char *const pieces[])
{
	size_t length = 0;
	for (size_t i = 0; i < count; i++)
		length += strlen(pieces[i]);
	char *text = malloc(length + 1);
	if (text == NULL) {
		callsign_fail("no memory for a message");
		return;
	}
	char *end = text;
	for (size_t i = 0; i < count; i++) {
		size_t piece = strlen(pieces[i]);
		memcpy(end, pieces[i], piece);
		end += piece;
	}
	callsign_broadcast(source, CALLSIGN_OP_TEXT, text, length, CALLSIGN_SCOPE_GLOBAL);
	free(text);
}

#define TELL(source, ...) \
	tell(source, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), \
		(const char *const[]){__VA_ARGS__})

static int32_t onrequest(struct callsign_request *request)
{
	static const char nothing[] = "nothing here; the chat is at /\n", only_get[] = "only GET\n";
	if (request->upgrade) {
		callsign_handshake(request, "join", "message", "leave");
		return 1;
	}
	if ((request->method_code & (CALLSIGN_METHOD_GET | CALLSIGN_METHOD_HEAD)) == 0) {
		callsign_respond_header(request, "allow", "GET, HEAD");
		return callsign_respond(request, 405, "text/plain; charset=utf-8", only_get, strlen(only_get));
	}
	if (strcmp(request->path, "/") != 0)
		return callsign_respond(request, 404, "text/plain; charset=utf-8", nothing, strlen(nothing));
	return callsign_respond(request, 200, "text/html; charset=utf-8", page, sizeof page);
}
CALLSIGN_ONREQUEST(onrequest);

static void join(struct connection *c)
{
	char text[NAME_SIZE + 16];
	struct guest *guest = malloc(sizeof *guest);
	if (guest == NULL) {
		callsign_fail("no memory for a guest");
		return;
	}
	snprintf(guest->name, sizeof guest->name, "guest-%llu", (unsigned long long)c->id);
	c->data = guest;
	snprintf(text, sizeof text, "* you are %s", guest->name);
	callsign_text(c, text);
	TELL(c, "* ", guest->name, " joined");
}
CALLSIGN_ONCONNECT(join);

static size_t letters(const char *text)
{
	size_t count = 0;
	for (; *text != '\0'; text++)
		count += ((unsigned char)*text & 0xc0) != 0x80;
	return count;
}

static void rename_guest(struct connection *c, char *new_name)
{
	char old[NAME_SIZE];
	struct guest *guest = c->data;
	new_name += strspn(new_name, " \t");
	size_t length = strlen(new_name);
	while (length > 0 && strchr(" \t", new_name[length - 1]) != NULL)
		new_name[--length] = '\0';
	if (length == 0 || letters(new_name) > NAME_LETTERS_MAX) {
		callsign_text(c, "* a name has 1 to 32 characters");
		return;
	}
	if (guest == NULL)
		return;
	memcpy(old, guest->name, sizeof old);
	memcpy(guest->name, new_name, length + 1);
	TELL(NULL, "* ", old, " is now ", guest->name);
}

/* `data` may contain a NUL, so it is passed with its length. */
static void say(struct connection *c, const void *data, size_t length)
{
	size_t before = strlen(name(c)) + 2;
	char *text = malloc(before + length + 1);
	if (text == NULL) {
		callsign_fail("no memory for a message");
		return;
	}
	snprintf(text, before + 1, "%s: ", name(c));
	memcpy(text + before, data, length);
	callsign_broadcast(c, CALLSIGN_OP_TEXT, text, before + length, CALLSIGN_SCOPE_GLOBAL);
	free(text);
}

/* Copies the text after the command `word` to `argument`, truncated to its size. Returns NULL if the message
 * is not that command. */
static char *command(const char *word, char argument[COMMAND_SIZE], const char *data, size_t length)
{
	size_t skip = strlen(word);
	if (length < skip || memcmp(data, word, skip) != 0)
		return NULL;
	length -= skip;
	if (length >= COMMAND_SIZE) {
		length = COMMAND_SIZE - 1;
		/* Truncate between characters. */
		while (length > 0 && ((unsigned char)data[skip + length] & 0xc0) == 0x80)
			length--;
	}
	memcpy(argument, data + skip, length);
	argument[length] = '\0';
	return argument;
}

static void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	char argument[COMMAND_SIZE];
	if (op != CALLSIGN_OP_TEXT)
		callsign_broadcast(c, op, data, length, CALLSIGN_SCOPE_GLOBAL);
	else if (command("/name ", argument, data, length) != NULL)
		rename_guest(c, argument);
	else if (command("/quit ", argument, data, length) != NULL)
		callsign_close(c, NORMAL_CLOSURE, argument);
	else if (length == 5 && memcmp(data, "/quit", 5) == 0)
		callsign_close(c, NORMAL_CLOSURE, NULL);
	else
		say(c, data, length);
}
CALLSIGN_ONMESSAGE(message);

static void leave(struct connection *c)
{
	char code[8];
	const char *reason = callsign_close_reason(c);
	snprintf(code, sizeof code, "%u", (unsigned)callsign_close_code(c));
	TELL(c, "* ", name(c), " left (", code, *reason == '\0' ? "" : " ", reason, ")");
}
CALLSIGN_ONDISCONNECT(leave);

/* A reload carries the name over as bytes, so that the next version may change `struct guest`. */
static int32_t save(struct connection *c)
{
	const struct guest *guest = c->data;
	if (callsign_save(guest->name, strlen(guest->name)) == CALLSIGN_STATUS_SENT)
		return CALLSIGN_SAVED;
	callsign_fail("the host rejected the name");
	return CALLSIGN_SAVED_FAILED;
}

static int32_t restore(struct connection *c, uint32_t version, const void *state, size_t length)
{
	if (version != 1 || length >= NAME_SIZE) {
		callsign_fail("the state is not a name of at most 128 bytes (version 1)");
		return 0;
	}
	struct guest *guest = malloc(sizeof *guest);
	if (guest == NULL) {
		callsign_fail("no memory for a guest");
		return 0;
	}
	memcpy(guest->name, state, length);
	guest->name[length] = '\0';
	c->data = guest;
	return 1;
}

static void release(struct connection *c)
{
	free(c->data);
	c->data = NULL;
}

CALLSIGN_PLUGIN_WITH(
	"chat-c", "0.1.0", .state_version = 1, .release = release, .save = save, .restore = restore);
