/*-------------------------------------------------------------------------
 *
 * room.h
 *		How much memory the answers of a client may take together.
 *
 * An answer's first bytes need no room, for there are only so many connections, and
 * most answers are no larger.  Further ones come from a pool.  Where that is full one
 * answer, the large one, may grow all the same, and the others wait: so one goes on in
 * any case, and they take turns.  Nobody's waits for somebody else's for long: one lane
 * gets a part of the pool only, those that were not large for the longest time come
 * first, and who takes too long over being large while others wait is given up.
 *
 * It knows nothing of PostgreSQL, raises nothing, and is used by two threads.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ROOM_H
#define MIXPEEK_ROOM_H

#include <pthread.h>

/* The most that an answer may have. */
#define ROOM_LARGEST	(32 * 1024 * 1024)

/* What each has without asking, all others have together, and those of one lane. */
#define ROOM_FREE		(64 * 1024)
#define ROOM_POOL		(16 * 1024 * 1024)
#define ROOM_LANE		(ROOM_POOL / 4)

/* How long an answer may be the large one while others wait, in microseconds. */
#define ROOM_PATIENCE	INT64CONST(10000000)

/* Of the transfers to one server.  Zeros to begin with. */
typedef struct RoomLane
{
	size_t		pooled;
	int64		large_at;		/* when one of them became the large one last */
} RoomLane;

/* Of one transfer. */
typedef struct RoomShare
{
	RoomLane   *lane;
	size_t		pooled;
	size_t		wanted;			/* the size that there was no room for */
	bool		large;
} RoomShare;

typedef struct Room
{
	pthread_mutex_t mutex;
	size_t		pooled;
	RoomShare  *large;			/* NULL: none is */
	int64		large_since;
} Room;

extern void room_init(Room *room);

/*
 * Is there room for size bytes, in place of those that the share has?  If so they are its
 * own now, and else it notes that it wants them.
 */
extern bool room_take(Room *room, RoomShare *share, size_t size, int64 now);

/* The same, but nothing is taken. */
extern bool room_has(Room *room, const RoomShare *share, size_t size);

/* Gives back what the share has; was there something? */
extern bool room_return(Room *room, RoomShare *share);

/* The share that has been large for too long; NULL: none. */
extern RoomShare *room_overdue(Room *room, int64 now);

#endif							/* MIXPEEK_ROOM_H */
