/*-------------------------------------------------------------------------
 *
 * ticket.c
 *		Requests of sessions that wait for the database's worker.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/transam.h"
#include "base/ticket.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"

Tickets    *shared_tickets = NULL;

Size
tickets_size(int n)
{
	return offsetof(Tickets, tickets) + sizeof(Ticket) * n;
}

void
tickets_init(Tickets *tickets, int n)
{
	memset(tickets, 0, tickets_size(n));
	pg_atomic_init_u32(&tickets->news, 0);
	tickets->n = n;
	for (int i = 0; i < n; i++)
		SpinLockInit(&tickets->tickets[i].mutex);
}

/* Close the ticket of a session that is terminated while it waits. */
static void
close_at_exit(int code, Datum arg)
{
	ticket_close(shared_tickets, &shared_tickets->tickets[COMPAT_PROC_NUMBER]);
}

static void
close_shared_at_exit(void)
{
	static bool registered = false;

	if (registered)
		return;
	before_shmem_exit(close_at_exit, (Datum) 0);
	registered = true;
}

void
ticket_open(Tickets *tickets, Ticket *ticket, TicketKind kind)
{
	TransactionId xmax = ReadNextTransactionId();
	Oid			role = GetUserId();

	if (tickets == shared_tickets)
		close_shared_at_exit();
	SpinLockAcquire(&ticket->mutex);
	ticket->open = true;
	ticket->answered = ticket->checked = false;
	ticket->number++;
	ticket->kind = kind;
	ticket->database = MyDatabaseId;
	ticket->role = role;
	ticket->procno = COMPAT_PROC_NUMBER;
	ticket->xmax = xmax;
	SpinLockRelease(&ticket->mutex);
	pg_atomic_fetch_add_u32(&tickets->news, 1);
}

bool
ticket_take(Ticket *ticket, TicketAnswer *answer, bool *checked)
{
	bool		answered;

	SpinLockAcquire(&ticket->mutex);
	answered = ticket->answered;
	*checked = ticket->checked;
	if (answered)
		*answer = ticket->answer;
	SpinLockRelease(&ticket->mutex);
	return answered;
}

void
ticket_close(Tickets *tickets, Ticket *ticket)
{
	SpinLockAcquire(&ticket->mutex);
	ticket->open = false;
	SpinLockRelease(&ticket->mutex);
	pg_atomic_fetch_add_u32(&tickets->news, 1);
}

bool
ticket_read(Ticket *ticket, Oid database, Ticket *copy)
{
	bool		waits;

	SpinLockAcquire(&ticket->mutex);
	waits = ticket->open && !ticket->answered && ticket->database == database;
	if (waits)
		memcpy(copy, ticket, offsetof(Ticket, answer));
	SpinLockRelease(&ticket->mutex);
	return waits;
}

void
ticket_answer(Ticket *ticket, uint32 number, const TicketAnswer *answer)
{
	int			procno = -1;

	SpinLockAcquire(&ticket->mutex);
	if (ticket->open && ticket->number == number)
	{
		ticket->answer = *answer;
		ticket->answered = true;
		procno = ticket->procno;
	}
	SpinLockRelease(&ticket->mutex);
	if (procno >= 0)
		SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}

void
ticket_note_checked(Ticket *ticket, uint32 number)
{
	int			procno = -1;

	SpinLockAcquire(&ticket->mutex);
	if (ticket->open && ticket->number == number && !ticket->checked)
	{
		ticket->checked = true;
		procno = ticket->procno;
	}
	SpinLockRelease(&ticket->mutex);
	if (procno >= 0)
		SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}
