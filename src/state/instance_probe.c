/*-------------------------------------------------------------------------
 *
 * instance_probe.c
 *		Finding out where this server runs.
 *
 * The parts and their meaning are described in instance.c.  Everything is read from
 * files in /proc, /sys, /etc and /run; a file that is missing or unreadable leaves its part out.
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

#include "base/settings.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "state/instance_probe.h"

#define MAX_VALUE		512		/* bytes of a file in /sys */
#define MAX_STACK		8		/* layers of devices */

#define BTRFS_MAGIC		0x9123683E
#define ZFS_MAGIC		0x2fc12fc1

/* What the data directory is stored on. */
typedef struct Storage
{
	StringInfoData volumes;		/* hashes, separated by commas */
	StringInfoData disks;
} Storage;

/*
 * Reading files
 */

/* Write a path to a buffer of MAXPGPATH bytes.  Tests may set another root directory. */
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
file_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

/*
 * Read a file's first line, without spaces around it, into a buffer of MAX_VALUE bytes.  Returns false if the
 * file cannot be read or the line is empty.
 */
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

/* Append the hash of a value to a list, unless the list has it. */
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

/* Append a part with a single value. */
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

/* Add an RBD image, which is identified by pool and name. */
static bool
add_rbd(Storage *storage, const char *dir)
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
	add_hash(&storage->disks, "rbd", psprintf("%s/%s", pool, name));
	return true;
}

/* Add the disk with this directory in /sys, by the first identifier that it has. */
static void
add_disk(Storage *storage, const char *dir)
{
	static const char *const files[] = {"wwid", "device/wwid", "serial", "device/serial", "device/cid"};
	char		path[MAXPGPATH];
	char		value[MAX_VALUE];

	if (add_rbd(storage, dir))
		return;
	for (int i = 0; i < (int) lengthof(files); i++)
	{
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		if (!read_line(path, value) || strspn(value, "0 .-") == strlen(value))
			continue;
		add_hash(&storage->disks, "disk", value);
		return;
	}
}

/* Add what identifies a layer of the stack.  For a partition, change dir to that of its disk. */
static void
add_layer(Storage *storage, char *dir)
{
	char		path[MAXPGPATH];
	char		value[MAX_VALUE];

	snprintf(path, sizeof(path), "%s/dm/uuid", dir);
	if (read_line(path, value))
		add_hash(&storage->volumes, "dm", value);
	snprintf(path, sizeof(path), "%s/loop/backing_file", dir);
	if (read_line(path, value))
		add_hash(&storage->volumes, "loop", value);
	snprintf(path, sizeof(path), "%s/partition", dir);
	if (read_line(path, value))
	{
		add_hash(&storage->volumes, "partition", value);
		get_parent_directory(dir);
	}
}

/* Add a block device, by a link to its directory in /sys, and the devices below it. */
static void
add_device(Storage *storage, const char *link, int depth)
{
	char		dir[PATH_MAX];
	char		path[MAXPGPATH];
	bool		has_slaves = false;
	struct dirent *entry;
	DIR		   *slaves;

	if (depth > MAX_STACK || realpath(link, dir) == NULL || strlen(dir) + NAME_MAX + 16 > MAXPGPATH)
		return;
	add_layer(storage, dir);
	snprintf(path, sizeof(path), "%s/slaves", dir);
	slaves = opendir(path);
	while (slaves && (entry = readdir(slaves)) != NULL)
	{
		if (entry->d_name[0] == '.')
			continue;
		has_slaves = true;
		snprintf(path, sizeof(path), "%s/slaves/%s", dir, entry->d_name);
		add_device(storage, path, depth + 1);
	}
	if (slaves)
		closedir(slaves);
	if (!has_slaves)
		add_disk(storage, dir);
}

/* Find the fields of a line of mountinfo that are needed.  Returns false if it does not have them. */
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

/* Find the type and source of the file system that contains a path. */
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

/* Add a file system that is not on a block device of its own. */
static void
add_mount(Storage *storage)
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
		add_hash(&storage->volumes, "fsid", psprintf("%x:%x", id[0], id[1]));
	}
	if (realpath(DataDir, dir) == NULL || !find_mount(dir, type, source))
		return;
	if (strcmp(type, "ceph") == 0 && strrchr(source, ':'))
		add_hash(&storage->volumes, "source", strrchr(source, ':'));	/* without the monitors,
																		 * which may change */
	else if (is_network_type(type))
		add_hash(&storage->volumes, "source", source);
	else if (strncmp(source, "/dev/", 5) == 0)
	{
		real_path(path, "/sys/class/block/%s", last_dir_separator(source) + 1);
		add_device(storage, path, 0);
	}
}

static void
add_storage(StringInfo text, dev_t device, const char *boot)
{
	Storage		storage;
	char		path[MAXPGPATH];

	initStringInfo(&storage.volumes);
	initStringInfo(&storage.disks);
	real_path(path, "/sys/dev/block/%u:%u", major(device), minor(device));
	if (major(device) == 0)
		add_mount(&storage);
	else
		add_device(&storage, path, 0);
	if (storage.volumes.len > 0)
		appendStringInfo(text, " volume=%s", storage.volumes.data);
	if (storage.disks.len > 0)
		appendStringInfo(text, " disk=%s", storage.disks.data);
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
is_in_container(void)
{
	static const char *const signs[] = {"/.dockerenv", "/run/.containerenv", "/run/systemd/container"};
	char		path[MAXPGPATH];
	char		type[MAX_VALUE];
	char		source[MAX_VALUE];

	for (int i = 0; i < (int) lengthof(signs); i++)
	{
		real_path(path, "%s", signs[i]);
		if (file_exists(path))
			return true;
	}
	return getenv("KUBERNETES_SERVICE_HOST") != NULL ||
		(find_mount("/", type, source) && strcmp(type, "overlay") == 0);
}

/* Add the Kubernetes namespace: from the service account's files, or else from the resolver's search list. */
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

/* Read the address of a network interface, if it is a hardware address that was not generated. */
static bool
read_address(const char *interface, char *address)
{
	char		path[MAXPGPATH];
	char		assigned[MAX_VALUE];

	real_path(path, "/sys/class/net/%s/device", interface);
	if (!file_exists(path))
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

void
instance_probe(StringInfo text)
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
	if (!is_in_container())
		add_machine(text);
}
