/* Calls the hooks of the chat in C with a host that implements only `save` and `fail`. The program exits with 0 if a
 * name is restored and everything else is rejected. */
#include "../../../example-plugins/chat-c/chat.c"

static char state[NAME_SIZE];
static size_t state_length;
static int failures;

static int32_t take(const void *data, size_t length)
{
	if (length > sizeof state)
		abort();
	memcpy(state, data, length);
	state_length = length;
	return CALLSIGN_STATUS_SENT;
}

static int32_t refuse(const void *data, size_t length)
{
	(void)data, (void)length;
	return CALLSIGN_STATUS_NOT_NOW;
}

static int32_t note(const char *message_, size_t length, const char *file, uint32_t line)
{
	failures += message_ != NULL && length > 0 && file != NULL && line > 0;
	return CALLSIGN_STATUS_SENT;
}

#define CHECK(fact) \
	do { \
		if (!(fact)) { \
			printf("line %d: %s\n", __LINE__, #fact); \
			wrong = 1; \
		} \
	} while (0)

int main(void)
{
	int wrong = 0;
	struct callsign_host host;
	struct connection old = {NULL, 1, 0}, new_ = {NULL, 1, 0};
	char longest[NAME_SIZE];
	memset(&host, 0, sizeof host);
	host.struct_size = sizeof host;
	host.save = take;
	host.fail = note;
	*callsign_plugin.host = &host;
	memset(longest, 'x', sizeof longest);

	struct guest *guest = malloc(sizeof *guest);
	if (guest == NULL)
		return 2;
	strcpy(guest->name, "\xc3\x84nn");
	old.data = guest;
	CHECK(callsign_plugin.state_version == 1);
	CHECK(callsign_plugin.save(&old) == CALLSIGN_SAVED);
	CHECK(state_length == 4 && old.data == guest);
	CHECK(callsign_plugin.restore(&new_, 1, state, state_length) == 1);
	CHECK(new_.data != NULL && new_.data != old.data && strcmp(name(&new_), "\xc3\x84nn") == 0);
	callsign_plugin.release(&new_);
	CHECK(new_.data == NULL && failures == 0);

	CHECK(callsign_plugin.restore(&new_, 1, longest, NAME_SIZE - 1) == 1);
	CHECK(strlen(name(&new_)) == NAME_SIZE - 1);
	callsign_plugin.release(&new_);
	CHECK(callsign_plugin.restore(&new_, 1, longest, NAME_SIZE) == 0 && failures == 1);
	CHECK(callsign_plugin.restore(&new_, 2, state, state_length) == 0 && failures == 2);
	CHECK(new_.data == NULL);
	host.save = refuse;
	CHECK(callsign_plugin.save(&old) == CALLSIGN_SAVED_FAILED && failures == 3);
	callsign_plugin.release(&old);
	callsign_plugin.release(&old);
	return wrong;
}
