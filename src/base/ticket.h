/*-------------------------------------------------------------------------
 *
 * ticket.h
 *		Questions of sessions that wait, which the database's worker answers.
 *
 * A ticket is a place in shared memory: where the library is preloaded each backend
 * has one; otherwise there is one in a segment that a session shares with the worker
 * that it has started (sync_functions.c).  The session sees nothing but the answer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_TICKET_H
#define MIXPEEK_TICKET_H

#include "port/atomics.h"
#include "storage/spin.h"

/* Bytes of what an answer says of servers that could not be used. */
#define TICKET_TEXT		1024

typedef enum TicketKind
{
	TICKET_WAIT,				/* until all that is committed by now is
								 * mirrored or failed */
	TICKET_SYNC					/* or nothing is left that is due soon */
} TicketKind;

typedef enum TicketResult
{
	TICKET_DONE,
	TICKET_COPY,				/* the database is a copy: text says of what */
	TICKET_DISABLED,			/* mixpeek.enabled is off */
	TICKET_NOBODY				/* it is not done, and nobody works */
} TicketResult;

typedef struct TicketAnswer
{
	TicketResult result;
	bool		left;			/* changes of tables that are locked or cannot
								 * be read */
	bool		hidden;			/* servers could not be used of which the
								 * caller may not know why */
	char		text[TICKET_TEXT];	/* why servers could not be used, a line
									 * each */
} TicketAnswer;

typedef struct Ticket
{
	slock_t		mutex;			/* protects what follows */
	bool		open;			/* the session waits */
	bool		answered;
	bool		looked;			/* what it asks for was not so when the worker
								 * last looked */
	uint32		number;			/* another one each time the place is used */
	TicketKind	kind;
	Oid			database;
	Oid			role;			/* who asks */
	int			procno;			/* whose latch is to be set */
	TransactionId xmax;			/* transactions that begin later are of no
								 * interest */
	TicketAnswer answer;
} Ticket;

typedef struct Tickets
{
	pg_atomic_uint32 news;		/* grows with each ticket that is opened or
								 * closed */
	int			n;
	Ticket		tickets[FLEXIBLE_ARRAY_MEMBER];
} Tickets;

extern Size tickets_size(int n);
extern void tickets_init(Tickets *tickets, int n);

/* Those of all backends, or NULL; set by shmem.c where the library is preloaded. */
extern Tickets *shared_tickets;

/*
 * The session's side.  A ticket that is left open at the end of the session is closed.
 * ticket_take() is true once there is an answer.
 */
extern void ticket_open(Tickets *tickets, Ticket *ticket, TicketKind kind);
extern bool ticket_take(Ticket *ticket, TicketAnswer *answer, bool *looked);
extern void ticket_close(Tickets *tickets, Ticket *ticket);

/*
 * The worker's side.  ticket_read() copies all but the answer; false if nobody in the
 * database waits for one.  Whoever's ticket it was by its number gets an answer, or is told that it
 * was looked at.
 */
extern bool ticket_read(Ticket *ticket, Oid database, Ticket *copy);
extern void ticket_answer(Ticket *ticket, uint32 number, const TicketAnswer *answer);
extern void ticket_looked(Ticket *ticket, uint32 number);

#endif							/* MIXPEEK_TICKET_H */
