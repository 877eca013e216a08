/*-------------------------------------------------------------------------
 *
 * instance.c
 *		Where this server runs, as a text that can be compared.
 *
 * A copy of a server must be distinguished from the server itself, although both
 * have the same files.  So the instance is made of what surrounds the files, as far as an
 * unprivileged process can read it:
 *
 *		host:inode	the host's name, and the inode of the data directory: no method of copying
 *					files keeps both
 *		namespace	the Kubernetes namespace: stateful sets in two of them have the same host names
 *		volume		what the data directory's file system is built on, from the top down: device
 *					mapper uuids (LVM, LUKS, multipath), partition numbers, files of loop devices;
 *					for btrfs and ZFS the id of the file system, which a snapshot does not have;
 *					for network file systems their source
 *		disk		the disks at the bottom: WWIDs, serial numbers, RBD images
 *		machine		/etc/machine-id
 *		board		the id of the instance in EC2
 *		net			the hardware addresses of the network interfaces
 *		boot, dev	the id of the boot, and the device's number, which does not change during a boot
 *
 * A part is compared if it is known of both instances.  There may be several disks and
 * addresses, and one in common is enough: they may be replaced one at a time, because
 * the instance is stored again after each change.  The layers of one volume must contain those
 * of the other one.  dev is compared only if the volume and the disks are unknown.
 *
 * In a container machine, board and net are left out: there they belong to the image,
 * or to a host that changes when the container is moved with its volume.
 *
 * Hence the following events are not noticed and need no adopt(): a reboot, a live migration,
 * restarting a container or pod or moving it with its volume and host name, extending an LVM
 * volume, replacing one of several disks or interfaces.  The following need an adopt(): another
 * host name, moving a disk to another machine, restoring into another volume, replacing a machine's
 * only disk or interface.
 *
 * The following copies cannot be recognized: a clone of a machine with the same
 * addresses, machine id and serial numbers of disks; a clone of a container's host, or of its
 * volume under the same name in another cluster, where disks have no identity (virtio without a
 * serial number, Google's disks by name, EC2 before Nitro); a machine that is resumed
 * from a snapshot with its memory, until its addresses change.  A snapshot that is put back in place of
 * the original is at the same instance; see witness.c.
 *
 * Values are hashed, because everybody can read mixpeek.origin.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "base/settings.h"
#include "lib/stringinfo.h"
#include "state/instance.h"
#include "state/instance_probe.h"
#include "utils/memutils.h"

/* Seconds after which the instance is probed anew: a machine may be cloned while it runs. */
#define PROBE_INTERVAL	60

/* The parts that are compared, and how a message names those that differ. */
static const struct
{
	const char *name;
	const char *text;
	enum
	{
		ONE_IN_COMMON,			/* one hash must be in both */
		ONE_HOLDS_THE_OTHER		/* all hashes of one must be in the other */
	}			rule;
}			parts[] =

{
	{"namespace", "the Kubernetes namespace", ONE_IN_COMMON},
	{"volume", "the volume", ONE_HOLDS_THE_OTHER},
	{"disk", "the disk", ONE_IN_COMMON},
	{"machine", "the machine's id", ONE_IN_COMMON},
	{"board", "the machine", ONE_IN_COMMON},
	{"net", "the network interfaces", ONE_IN_COMMON},
};

const char *
instance_current(void)
{
	static char *instance = NULL;
	static double probed_at;
	StringInfoData text;

	if (mixpeek_instance && mixpeek_instance[0])
		return mixpeek_instance;
	if (instance && clock_seconds() - probed_at < PROBE_INTERVAL)
		return instance;
	initStringInfo(&text);
	instance_probe(&text);
	if (instance)
		pfree(instance);
	instance = MemoryContextStrdup(TopMemoryContext, text.data);
	probed_at = clock_seconds();
	return instance;
}

/*
 * Comparing
 */

/* Return the length of host:inode in a instance; 0 if the instance is a mixpeek.instance. */
static int
host_length(const char *instance)
{
	int			length = strcspn(instance, " ");
	int			digits = 0;

	while (digits < length && instance[length - 1 - digits] >= '0' && instance[length - 1 - digits] <= '9')
		digits++;
	return digits > 0 && digits < length && instance[length - 1 - digits] == ':' ? length : 0;
}

char *
instance_name(const char *instance)
{
	int			length = host_length(instance);

	return length > 0 ? pnstrdup(instance, length) : pstrdup(instance);
}

/* Return a part's value, palloc'd, or NULL. */
static char *
find_part(const char *instance, const char *name)
{
	char	   *start = strstr(instance, psprintf(" %s=", name));

	if (start == NULL)
		return NULL;
	start += strlen(name) + 2;
	return pnstrdup(start, strcspn(start, " "));
}

/* Count the elements of one list that are in the other; *n: the elements of the first. */
static int
count_common(const char *list, const char *other, int *n)
{
	int			common = 0;
	char	   *copy = pstrdup(list);
	char	   *save = NULL;

	*n = 0;
	for (char *element = strtok_r(copy, ",", &save); element; element = strtok_r(NULL, ",", &save))
	{
		(*n)++;
		if (strstr(other, element))
			common++;
	}
	return common;
}

static bool
part_differs(int part, const char *noted, const char *current)
{
	char	   *a = find_part(noted, parts[part].name);
	char	   *b = find_part(current, parts[part].name);
	int			na;
	int			nb;
	int			common;

	if (a == NULL || b == NULL)
		return false;
	common = count_common(a, b, &na);
	(void) count_common(b, a, &nb);
	return parts[part].rule == ONE_IN_COMMON ? common == 0 : common < Min(na, nb);
}

static bool
has_storage(const char *instance)
{
	return find_part(instance, "volume") || find_part(instance, "disk");
}

static bool
device_differs(const char *noted, const char *current)
{
	char	   *noted_boot = find_part(noted, "boot");
	char	   *boot = find_part(current, "boot");

	if (noted_boot == NULL || boot == NULL || strcmp(noted_boot, boot) != 0 ||
		(has_storage(noted) && has_storage(current)))
		return false;
	return strcmp(find_part(noted, "dev"), find_part(current, "dev")) != 0;
}

char *
instance_difference(const char *noted, const char *current)
{
	StringInfoData differences;

	if (strcmp(noted, current) == 0)
		return NULL;
	if (current == mixpeek_instance || host_length(noted) == 0 || strcmp(instance_name(noted), instance_name(current)) != 0)
		return pstrdup("its name");
	initStringInfo(&differences);
	for (int i = 0; i < (int) lengthof(parts); i++)
	{
		if (part_differs(i, noted, current))
			appendStringInfo(&differences, "%s%s", differences.len > 0 ? ", " : "", parts[i].text);
	}
	if (device_differs(noted, current))
		appendStringInfo(&differences, "%sthe device", differences.len > 0 ? ", " : "");
	return differences.len > 0 ? differences.data : NULL;
}

char *
instance_merge(const char *noted, const char *current)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, current);
	for (int i = 0; i < (int) lengthof(parts); i++)
	{
		char	   *value = find_part(noted, parts[i].name);

		if (value && find_part(current, parts[i].name) == NULL)
			appendStringInfo(&text, " %s=%s", parts[i].name, value);
	}
	return text.data;
}
