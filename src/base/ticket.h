/*-------------------------------------------------------------------------
 *
 * ticket.h
 *		Requests of sessions that wait for the database's worker.
 *
 * A ticket is in shared memory.  If the library is preloaded each backend has one;
 * otherwise there is one in a segment that a session shares with the worker that
 * it has started (see entry/sync_functions.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_TICKET_H
#define MIXPEEK_TICKET_H

#include "port/atomics.h"
#include "storage/spin.h"

/* Bytes of an answer's text. */
#define TICKET_TEXT		1024

typedef enum TicketKind
{
	TICKET_WAIT,				/* wait until all changes committed before are
								 * mirrored or failed */
	TICKET_SYNC					/* likewise, or until nothing is due soon */
} TicketKind;

typedef enum TicketResult
{
	TICKET_DONE,
	TICKET_COPY,				/* the database is a copy: see text */
	TICKET_DISABLED,			/* mixpeek.enabled is off */
	TICKET_NOBODY				/* not done, and there is no worker any more */
} TicketResult;

typedef struct TicketAnswer
{
	TicketResult result;
	bool		left;			/* changes are left of tables that are locked
								 * or cannot be read */
	bool		hidden;			/* there are problems with servers that the
								 * caller may not see */
	char		text[TICKET_TEXT];	/* problems with servers, one per line */
} TicketAnswer;

typedef struct Ticket
{
	slock_t		mutex;			/* protects what follows */
	bool		open;			/* the session is waiting */
	bool		answered;
	bool		checked;		/* the worker has checked the request, and it
								 * was not done yet */
	uint32		number;			/* changed each time the ticket is opened */
	TicketKind	kind;
	Oid			database;
	Oid			role;			/* the session's user */
	int			procno;			/* the process whose latch is set */
	TransactionId xmax;			/* transactions that begin later are not
								 * waited for */
	TicketAnswer answer;
} Ticket;

typedef struct Tickets
{
	pg_atomic_uint32 news;		/* counts tickets that were opened or closed */
	int			n;
	Ticket		tickets[FLEXIBLE_ARRAY_MEMBER];
} Tickets;

/* Return the size of n tickets; initialize them. */
extern Size tickets_size(int n);
extern void tickets_init(Tickets *tickets, int n);

/* The tickets of all backends; NULL if the library is not preloaded.  Set by shmem.c. */
extern Tickets *shared_tickets;

/*
 * Functions of the session.  ticket_take() returns true once there is an answer.  A ticket that is
 * open at the end of the session is closed.
 */
extern void ticket_open(Tickets *tickets, Ticket *ticket, TicketKind kind);
extern bool ticket_take(Ticket *ticket, TicketAnswer *answer, bool *checked);
extern void ticket_close(Tickets *tickets, Ticket *ticket);

/*
 * Functions of the worker.  ticket_read() copies all but the answer; it returns false unless
 * a session of the database is waiting.  ticket_answer() answers a ticket, and ticket_note_checked()
 * notes that it was checked, if it still has the number.
 */
extern bool ticket_read(Ticket *ticket, Oid database, Ticket *copy);
extern void ticket_answer(Ticket *ticket, uint32 number, const TicketAnswer *answer);
extern void ticket_note_checked(Ticket *ticket, uint32 number);

#endif							/* MIXPEEK_TICKET_H */
