/*-------------------------------------------------------------------------
 *
 * place.c
 *		Where this server runs, as a text that can be compared.
 *
 * A copy of a server must be told from the server itself, and all that both have in
 * their files is the same.  So the place is made of what is around them, as far as
 * a process without rights may read it:
 *
 *		host:inode	the host's name, and the data directory's inode: no way of copying files
 *					keeps both
 *		namespace	Kubernetes': a stateful set in another one has the same host names
 *		volume		what the data directory's file system stands on, from the top down: the
 *					device mapper's uuids (LVM, LUKS, multipath), partitions' numbers, loop devices'
 *					files; of btrfs and ZFS the file system's own id, which a snapshot does not have; of network file
 *					systems where they come from
 *		disk		the disks at the bottom: WWIDs, serial numbers, RBD images
 *		machine		/etc/machine-id
 *		board		the instance's id in EC2
 *		net			the hardware addresses of its network interfaces
 *		boot, dev	the boot's id, and the device's number, which during one boot stays the same
 *
 * A part counts where both places know it.  Disks and addresses are several: one in
 * common is enough, so that they may be replaced one by one, for what is known is
 * noted anew each time.  Volumes may be stacked higher, or less high, but not
 * otherwise.  dev counts if nothing is known of volumes and disks.
 *
 * In a container machine, board and net are left out: what can be seen there is the
 * image's or that of a host that changes when the container is moved, with its volume,
 * to another one.  So these go on without being asked: a reboot, a live migration, a
 * container or pod that is started again or moved with its volume and its host's name,
 * LVM that is extended, a disk of several, or an interface of several, that is
 * replaced.  These ask, once: another host name, a disk that is moved to another machine,
 * a restore into another volume, a machine's only disk or interface replaced.
 *
 * What cannot be seen: a clone of a machine whose addresses, machine id and disks' serial numbers were cloned, too; one of
 * a container's host, or of its volume to the same name in another cluster, where disks have no identity
 * (virtio without a serial number, Google's by name, EC2's before Nitro); a machine that goes on from a snapshot with
 * its memory until its addresses change; a snapshot that is put back in place of
 * the original.
 *
 * Values are hashed: mixpeek.origin can be read by everybody.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/settings.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "state/place.h"
#include "utils/memutils.h"

/* Seconds until it is looked at anew: a machine may be cloned while it runs. */
#define LOOK_AGAIN		60

#define MAX_VALUE		512		/* of a file in /sys */
#define MAX_STACK		8		/* of devices */

#define BTRFS_MAGIC		0x9123683E
#define ZFS_MAGIC		0x2fc12fc1

typedef struct Place
{
	StringInfoData volumes;		/* hashes with commas between them */
	StringInfoData disks;
} Place;

/* The parts that are compared, and what is said of those that differ. */
static const struct
{
	const char *name;
	const char *text;
	enum
	{
		ONE_IN_COMMON,
		ONE_HOLDS_THE_OTHER
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

/*
 * Reading files
 */

/* A path; the tests have a machine of their own making. */
static void
			real_path(char *path, const char *format,...) pg_attribute_printf(2, 3);

static void
real_path(char *path, const char *format,...)
{
	va_list		args;
	int			length = 0;

#ifdef MIXPEEK_WEAKEN
	length = snprintf(path, MAXPGPATH, "%s", mixpeek_root ? mixpeek_root : "");
#endif
	va_start(args, format);
	vsnprintf(path + length, MAXPGPATH - length, format, args);
	va_end(args);
}

static bool
exists(const char *path)
{
	return access(path, F_OK) == 0;
}

/* A file's first line without spaces around it; false if there is none, or nothing in it. */
static bool
read_line(const char *path, char *line)
{
	int			fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t		length;
	char	   *start = line;

	if (fd < 0)
		return false;
	length = read(fd, line, MAX_VALUE - 1);
	close(fd);
	line[Max(length, 0)] = '\0';
	line[strcspn(line, "\n")] = '\0';
	while (*start == ' ' || *start == '\t')
		start++;
	memmove(line, start, strlen(start) + 1);
	for (length = strlen(line); length > 0 && line[length - 1] == ' '; length--)
		line[length - 1] = '\0';
	return length > 0;
}

static void
add_hash(StringInfo list, const char *kind, const char *value)
{
	char	   *text = psprintf("%s:%s", kind, value);
	char		hash[17];

	snprintf(hash, sizeof(hash), "%016llx",
			 (unsigned long long) hash_bytes_extended((const unsigned char *) text, strlen(text), 0));
	if (strstr(list->data, hash))
		return;
	appendStringInfo(list, "%s%s", list->len > 0 ? "," : "", hash);
}

static void
add_part(StringInfo text, const char *name, const char *value)
{
	StringInfoData hash;

	initStringInfo(&hash);
	add_hash(&hash, name, value);
	appendStringInfo(text, " %s=%s", name, hash.data);
}

/*
 * Devices
 */

/* An RBD image has its pool and name where other disks have a number. */
static bool
add_rbd(Place *place, const char *dir)
{
	char		path[MAXPGPATH];
	char		pool[MAX_VALUE];
	char		name[MAX_VALUE];

	snprintf(path, sizeof(path), "%s/device/pool", dir);
	if (!read_line(path, pool))
		return false;
	snprintf(path, sizeof(path), "%s/device/name", dir);
	if (!read_line(path, name))
		return false;
	add_hash(&place->disks, "rbd", psprintf("%s/%s", pool, name));
	return true;
}

static void
add_disk(Place *place, const char *dir)
{
	static const char *const files[] = {"wwid", "device/wwid", "serial", "device/serial", "device/cid"};
	char		path[MAXPGPATH];
	char		value[MAX_VALUE];

	if (add_rbd(place, dir))
		return;
	for (int i = 0; i < (int) lengthof(files); i++)
	{
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		if (!read_line(path, value) || strspn(value, "0 .-") == strlen(value))
			continue;
		add_hash(&place->disks, "disk", value);
		return;
	}
}

/* What a device adds to the stack; if it is a partition, dir becomes its disk's. */
static void
add_layer(Place *place, char *dir)
{
	char		path[MAXPGPATH];
	char		value[MAX_VALUE];

	snprintf(path, sizeof(path), "%s/dm/uuid", dir);
	if (read_line(path, value))
		add_hash(&place->volumes, "dm", value);
	snprintf(path, sizeof(path), "%s/loop/backing_file", dir);
	if (read_line(path, value))
		add_hash(&place->volumes, "loop", value);
	snprintf(path, sizeof(path), "%s/partition", dir);
	if (read_line(path, value))
	{
		add_hash(&place->volumes, "partition", value);
		get_parent_directory(dir);
	}
}

/* A block device's directory in /sys, and those that it stands on. */
static void
add_device(Place *place, const char *link, int depth)
{
	char		dir[PATH_MAX];
	char		path[MAXPGPATH];
	bool		has_slaves = false;
	struct dirent *entry;
	DIR		   *slaves;

	if (depth > MAX_STACK || realpath(link, dir) == NULL || strlen(dir) + NAME_MAX + 16 > MAXPGPATH)
		return;
	add_layer(place, dir);
	snprintf(path, sizeof(path), "%s/slaves", dir);
	slaves = opendir(path);
	while (slaves && (entry = readdir(slaves)) != NULL)
	{
		if (entry->d_name[0] == '.')
			continue;
		has_slaves = true;
		snprintf(path, sizeof(path), "%s/slaves/%s", dir, entry->d_name);
		add_device(place, path, depth + 1);
	}
	if (slaves)
		closedir(slaves);
	if (!has_slaves)
		add_disk(place, dir);
}

/* The fields of a line of mountinfo that count; false where there are none. */
static bool
parse_mount(char *line, char **mount_point, char **type, char **source)
{
	char	   *separator = strstr(line, " - ");
	char	   *save = NULL;

	*mount_point = strtok_r(line, " ", &save);
	for (int i = 0; i < 4 && *mount_point; i++)
		*mount_point = strtok_r(NULL, " ", &save);
	if (*mount_point == NULL || separator == NULL)
		return false;
	*type = strtok_r(separator + 3, " ", &save);
	*source = *type ? strtok_r(NULL, " \n", &save) : NULL;
	return *source != NULL;
}

static bool
is_within(const char *path, const char *dir)
{
	size_t		length = strlen(dir);

	return strncmp(path, dir, length) == 0 && (dir[length - 1] == '/' || path[length] == '/' || path[length] == '\0');
}

/* Type and source of the file system in which a path is. */
static bool
find_mount(const char *path, char *type, char *source)
{
	char		name[MAXPGPATH];
	char		line[4096];
	size_t		longest = 0;
	FILE	   *file;

	real_path(name, "/proc/self/mountinfo");
	file = fopen(name, "r");
	while (file && fgets(line, sizeof(line), file))
	{
		char	   *this_point;
		char	   *this_type;
		char	   *this_source;

		if (!parse_mount(line, &this_point, &this_type, &this_source) ||
			!is_within(path, this_point) || strlen(this_point) < longest)
			continue;
		longest = strlen(this_point);
		strlcpy(type, this_type, MAX_VALUE);
		strlcpy(source, this_source, MAX_VALUE);
	}
	if (file)
		fclose(file);
	return longest > 0;
}

static bool
is_network_type(const char *type)
{
	return strncmp(type, "nfs", 3) == 0 || strcmp(type, "cifs") == 0 || strcmp(type, "smb3") == 0 ||
		strcmp(type, "ceph") == 0 || strncmp(type, "fuse.", 5) == 0;
}

/* A file system without a block device of its own. */
static void
add_mount(Place *place)
{
	char		type[MAX_VALUE];
	char		source[MAX_VALUE];
	char		path[MAXPGPATH];
	char		dir[PATH_MAX];
	struct statfs fs;

	if (statfs(DataDir, &fs) == 0 && (fs.f_type == BTRFS_MAGIC || fs.f_type == ZFS_MAGIC))
	{
		unsigned int id[2];

		memcpy(id, &fs.f_fsid, sizeof(id));
		add_hash(&place->volumes, "fsid", psprintf("%x:%x", id[0], id[1]));
	}
	if (realpath(DataDir, dir) == NULL || !find_mount(dir, type, source))
		return;
	if (strcmp(type, "ceph") == 0 && strrchr(source, ':'))
		add_hash(&place->volumes, "source", strrchr(source, ':'));	/* before it are the
																	 * monitors, which
																	 * change */
	else if (is_network_type(type))
		add_hash(&place->volumes, "source", source);
	else if (strncmp(source, "/dev/", 5) == 0)
	{
		real_path(path, "/sys/class/block/%s", last_dir_separator(source) + 1);
		add_device(place, path, 0);
	}
}

static void
add_storage(StringInfo text, dev_t device, const char *boot)
{
	Place		place;
	char		path[MAXPGPATH];

	initStringInfo(&place.volumes);
	initStringInfo(&place.disks);
	real_path(path, "/sys/dev/block/%u:%u", major(device), minor(device));
	if (major(device) == 0)
		add_mount(&place);
	else
		add_device(&place, path, 0);
	if (place.volumes.len > 0)
		appendStringInfo(text, " volume=%s", place.volumes.data);
	if (place.disks.len > 0)
		appendStringInfo(text, " disk=%s", place.disks.data);
	if (boot && major(device) != 0)
	{
		add_part(text, "boot", boot);
		appendStringInfo(text, " dev=%u:%u", major(device), minor(device));
	}
}

/*
 * Machines
 */

static bool
in_container(void)
{
	static const char *const signs[] = {"/.dockerenv", "/run/.containerenv", "/run/systemd/container"};
	char		path[MAXPGPATH];
	char		type[MAX_VALUE];
	char		source[MAX_VALUE];

	for (int i = 0; i < (int) lengthof(signs); i++)
	{
		real_path(path, "%s", signs[i]);
		if (exists(path))
			return true;
	}
	return getenv("KUBERNETES_SERVICE_HOST") != NULL ||
		(find_mount("/", type, source) && strcmp(type, "overlay") == 0);
}

/* Each pod has it; without a service account's files, the resolver says it. */
static void
add_namespace(StringInfo text)
{
	char		path[MAXPGPATH];
	char		line[MAX_VALUE];
	char	   *end;
	FILE	   *file;

	real_path(path, "/var/run/secrets/kubernetes.io/serviceaccount/namespace");
	if (read_line(path, line))
	{
		add_part(text, "namespace", line);
		return;
	}
	real_path(path, "/etc/resolv.conf");
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
	{
		if (strncmp(line, "search ", 7) != 0 || (end = strstr(line, ".svc.")) == NULL ||
			(size_t) (end - line) != 7 + strcspn(line + 7, " ."))
			continue;
		*end = '\0';
		add_part(text, "namespace", line + 7);
		break;
	}
	if (file)
		fclose(file);
}

/* A hardware interface's address that was not made up when it came up. */
static bool
read_address(const char *interface, char *address)
{
	char		path[MAXPGPATH];
	char		assigned[MAX_VALUE];

	real_path(path, "/sys/class/net/%s/device", interface);
	if (!exists(path))
		return false;
	real_path(path, "/sys/class/net/%s/addr_assign_type", interface);
	if (read_line(path, assigned) && (strcmp(assigned, "1") == 0 || strcmp(assigned, "2") == 0))
		return false;
	real_path(path, "/sys/class/net/%s/address", interface);
	return read_line(path, address) && strspn(address, "0:") != strlen(address);
}

static void
add_net(StringInfo text)
{
	char		path[MAXPGPATH];
	char		address[MAX_VALUE];
	StringInfoData addresses;
	struct dirent *entry;
	DIR		   *dir;

	initStringInfo(&addresses);
	real_path(path, "/sys/class/net");
	dir = opendir(path);
	while (dir && (entry = readdir(dir)) != NULL)
	{
		if (entry->d_name[0] != '.' && read_address(entry->d_name, address))
			add_hash(&addresses, "net", address);
	}
	if (dir)
		closedir(dir);
	if (addresses.len > 0)
		appendStringInfo(text, " net=%s", addresses.data);
}

static void
add_machine(StringInfo text)
{
	char		path[MAXPGPATH];
	char		value[MAX_VALUE];

	real_path(path, "/etc/machine-id");
	if (read_line(path, value) && strlen(value) == 32)
		add_part(text, "machine", value);
	real_path(path, "/sys/class/dmi/id/board_asset_tag");
	if (read_line(path, value) && strncmp(value, "i-", 2) == 0)
		add_part(text, "board", value);
	add_net(text);
}

static void
look(StringInfo text)
{
	char		host[256];
	char		path[MAXPGPATH];
	char		boot[MAX_VALUE];
	struct stat st;

	if (gethostname(host, sizeof(host)) != 0)
		strlcpy(host, "?", sizeof(host));
	host[sizeof(host) - 1] = '\0';
	host[strcspn(host, " ")] = '\0';
	if (stat(DataDir, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat directory \"%s\": %m", DataDir)));
	appendStringInfo(text, "%s:%lu", host, (unsigned long) st.st_ino);
	real_path(path, "/proc/sys/kernel/random/boot_id");
	add_namespace(text);
	add_storage(text, st.st_dev, read_line(path, boot) ? boot : NULL);
	if (!in_container())
		add_machine(text);
}

const char *
place_current(void)
{
	static char *place = NULL;
	static double looked_at;
	StringInfoData text;

	if (mixpeek_instance && mixpeek_instance[0])
		return mixpeek_instance;
	if (place && clock_seconds() - looked_at < LOOK_AGAIN)
		return place;
	initStringInfo(&text);
	look(&text);
	if (place)
		pfree(place);
	place = MemoryContextStrdup(TopMemoryContext, text.data);
	looked_at = clock_seconds();
	return place;
}

/*
 * Comparing
 */

/* The length of its host:inode; 0: it is a name that somebody has given. */
static int
looked_at_length(const char *place)
{
	int			length = strcspn(place, " ");
	int			digits = 0;

	while (digits < length && place[length - 1 - digits] >= '0' && place[length - 1 - digits] <= '9')
		digits++;
	return digits > 0 && digits < length && place[length - 1 - digits] == ':' ? length : 0;
}

char *
place_name(const char *place)
{
	int			length = looked_at_length(place);

	return length > 0 ? pnstrdup(place, length) : pstrdup(place);
}

/* A part's value, palloc'd, or NULL. */
static char *
find_part(const char *place, const char *name)
{
	char	   *start = strstr(place, psprintf(" %s=", name));

	if (start == NULL)
		return NULL;
	start += strlen(name) + 2;
	return pnstrdup(start, strcspn(start, " "));
}

/* How many of one list's elements are in the other; *n: of how many. */
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
knows_storage(const char *place)
{
	return find_part(place, "volume") || find_part(place, "disk");
}

static bool
device_differs(const char *noted, const char *current)
{
	char	   *noted_boot = find_part(noted, "boot");
	char	   *boot = find_part(current, "boot");

	if (noted_boot == NULL || boot == NULL || strcmp(noted_boot, boot) != 0 ||
		(knows_storage(noted) && knows_storage(current)))
		return false;
	return strcmp(find_part(noted, "dev"), find_part(current, "dev")) != 0;
}

char *
place_difference(const char *noted, const char *current)
{
	StringInfoData differences;

	if (strcmp(noted, current) == 0)
		return NULL;
	if (current == mixpeek_instance || looked_at_length(noted) == 0 || strcmp(place_name(noted), place_name(current)) != 0)
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
place_merge(const char *noted, const char *current)
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
