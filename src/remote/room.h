/*-------------------------------------------------------------------------
 *
 * room.h
 *		Bounds on the memory that the answers of a client take together.
 *
 * The first ROOM_FREE bytes of an answer are free: the number of connections is bounded, and
 * most answers are not larger.  Further bytes come from a pool.  If the pool is full, one
 * answer, the large one, may still grow up to ROOM_LARGEST, and the others wait until it has
 * ended.  Three rules keep one server from blocking the others: a lane gets only a part of the
 * pool; the next large answer is that of the lane that has had none for the longest time; and
 * an answer that is the large one for longer than ROOM_PATIENCE while others wait is given up.
 *
 * Nothing here knows PostgreSQL or raises errors.  Two threads may use a Room.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ROOM_H
#define MIXPEEK_ROOM_H

#include <pthread.h>

/* The largest answer, in bytes. */
#define ROOM_LARGEST	(32 * 1024 * 1024)

#define ROOM_FREE		(64 * 1024) /* bytes of each answer that are free */
#define ROOM_POOL		(16 * 1024 * 1024)	/* of all answers, but the large
											 * one */
#define ROOM_LANE		(ROOM_POOL / 4) /* of the answers of one lane */

/* How long an answer may be the large one while other answers wait, in microseconds. */
#define ROOM_PATIENCE	INT64CONST(10000000)

/* What the answers of one server have.  Must be zero-initialized. */
typedef struct RoomLane
{
	size_t		pooled;			/* bytes of the pool */
	int64		large_at;		/* when one of its answers last became the
								 * large one, in microseconds */
} RoomLane;

/* What one answer has.  Must be zero-initialized, but for lane. */
typedef struct RoomShare
{
	RoomLane   *lane;
	size_t		pooled;			/* bytes of the pool */
	size_t		wanted;			/* the size that there was no room for, or 0 */
	bool		large;			/* is it the large one? */
} RoomShare;

/* What all answers have. */
typedef struct Room
{
	pthread_mutex_t mutex;
	size_t		pooled;			/* bytes of the pool that are in use */
	RoomShare  *large;			/* share of the large answer, or NULL */
	int64		large_since;	/* microseconds */
} Room;

extern void room_init(Room *room);

/*
 * Reserve size bytes for an answer, in place of those that it has.  Return false if there is no
 * room; share->wanted then says how much it needs.  now is in microseconds.
 */
extern bool room_take(Room *room, RoomShare *share, size_t size, int64 now);

/* Check whether there is room for size bytes, without reserving it. */
extern bool room_has(Room *room, const RoomShare *share, size_t size);

/* Give back what the answer has; return whether that was anything. */
extern bool room_return(Room *room, RoomShare *share);

/* Return the share of the large answer, if it has been that for too long; else NULL. */
extern RoomShare *room_overdue(Room *room, int64 now);

#endif							/* MIXPEEK_ROOM_H */
