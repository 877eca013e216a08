/*
 * repeat.c
 *	  The last requests with an idempotency key, and what they were answered.
 */
#include "repeat.h"

#include <stdlib.h>
#include <string.h>

#include "answer.h"

#define REMEMBERED 4096

static struct
{
	char	   *key;
	char	   *namespace;
	uint64_t	body_hash;
	size_t		body_length;
	char	   *answer;
	size_t		answer_length;
}			ring[REMEMBERED];
static size_t next;

static uint64_t
hash_body(const Buffer *body)
{
	uint64_t	hash = 0xCBF29CE484222325ULL;

	for (size_t i = 0; i < body->length; i++)
		hash = (hash ^ (unsigned char) body->data[i]) * 0x100000001B3ULL;
	return hash;
}

/* Answers a request whose key has been there: the first answer again, or 409 if its body is another one. */
bool
repeat_answer(Request *request, const char *key)
{
	size_t		at = 0;
	Buffer		body = {0};

	while (at < REMEMBERED && !(ring[at].key && strcmp(ring[at].key, key) == 0 &&
								strcmp(ring[at].namespace, request->namespace) == 0))
		at++;
	if (at == REMEMBERED)
		return false;
	if (ring[at].body_length != request->body.length || ring[at].body_hash != hash_body(&request->body))
	{
		answer_refusal(request, 409, "ConflictError", "idempotency_key_conflict", NULL,
					   "The idempotency key was used with another body");
		return true;
	}
	buffer_add(&body, ring[at].answer, ring[at].answer_length);
	answer_json(request, 200, &body);
	return true;
}

/* Keeps the request's answer, in the place of the oldest one. */
void
repeat_remember(const Request *request, const char *key)
{
	free(ring[next].key);
	free(ring[next].namespace);
	free(ring[next].answer);
	ring[next].key = copy_bytes(key, strlen(key));
	ring[next].namespace = copy_bytes(request->namespace, strlen(request->namespace));
	ring[next].body_hash = hash_body(&request->body);
	ring[next].body_length = request->body.length;
	ring[next].answer = copy_bytes(request->answer_data, request->answer_length);
	ring[next].answer_length = request->answer_length;
	next = (next + 1) % REMEMBERED;
}
