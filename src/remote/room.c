/*-------------------------------------------------------------------------
 *
 * room.c
 *		Bounds on the memory that the answers of a client take together.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "remote/room.h"

void
room_init(Room *room)
{
	memset(room, 0, sizeof(Room));
	pthread_mutex_init(&room->mutex, NULL);
}

/* Check whether the pool has room for the share with this size. */
static bool
fits_pool(const Room *room, const RoomShare *share, size_t size)
{
	size_t		more = size - share->pooled;

	return room->pooled + more <= ROOM_POOL && share->lane->pooled + more <= ROOM_LANE;
}

static void
set_pooled(Room *room, RoomShare *share, size_t size)
{
	room->pooled += size - share->pooled;
	share->lane->pooled += size - share->pooled;
	share->pooled = size;
}

/* Check whether the share may have this size, in the pool or as the large one. */
static bool
has_room(const Room *room, const RoomShare *share, size_t size)
{
	return size <= ROOM_FREE || share->large || fits_pool(room, share, size) || room->large == NULL;
}

bool
room_take(Room *room, RoomShare *share, size_t size, int64 now)
{
	bool		granted;

	pthread_mutex_lock(&room->mutex);
	granted = has_room(room, share, size);
	share->wanted = granted ? 0 : size;
	if (granted && size > ROOM_FREE && !share->large)
	{
		if (fits_pool(room, share, size))
			set_pooled(room, share, size);
		else
		{
			set_pooled(room, share, 0);
			share->large = true;
			share->lane->large_at = room->large_since = now;
			room->large = share;
		}
	}
	pthread_mutex_unlock(&room->mutex);
	return granted;
}

bool
room_has(Room *room, const RoomShare *share, size_t size)
{
	bool		result;

	pthread_mutex_lock(&room->mutex);
	result = has_room(room, share, size);
	pthread_mutex_unlock(&room->mutex);
	return result;
}

bool
room_return(Room *room, RoomShare *share)
{
	bool		any = share->large || share->pooled > 0;

	if (!any)
		return false;
	pthread_mutex_lock(&room->mutex);
	set_pooled(room, share, 0);
	if (share->large)
		room->large = NULL;
	share->large = false;
	pthread_mutex_unlock(&room->mutex);
	return true;
}

RoomShare *
room_overdue(Room *room, int64 now)
{
	RoomShare  *share;

	pthread_mutex_lock(&room->mutex);
	share = room->large && now - room->large_since > ROOM_PATIENCE ? room->large : NULL;
	pthread_mutex_unlock(&room->mutex);
	return share;
}
