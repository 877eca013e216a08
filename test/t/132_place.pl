# A server can tell a clone of its disk from the original. The machines are directories with files of /sys, /proc and
# /etc, which a library that can be told so reads instead of the real ones (see Weakness in src/base/settings.h).
use strict;
use warnings;
use File::Basename ();
use File::Path ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use MixpeekTest;
use MixpeekTest::Crash;

plan skip_all =>
	'there is no library to which other machines can be shown (test/run builds one)' unless $ENV{MIXPEEK_WEAK};

my $api = MixpeekTest::Server->new(enrich => 'never');
my $node;

my $root = PostgreSQL::Test::Utils::tempdir();

# machine(FILE => CONTENT...): make these files and no others; DEVICE in a name stands for the data directory's device.
sub machine
{
	my (%files) = @_;
	my $device = (stat($node->data_dir))[0];
	my $number = (($device >> 8) & 0xfff) . ':' . (($device & 0xff) | (($device >> 12) & 0xfff00));

	File::Path::remove_tree("$root/$_") foreach qw(sys etc proc var run);
	while (my ($name, $content) = each %files)
	{
		my $path = "$root/" . ($name =~ s/DEVICE/$number/r);
		File::Path::make_path(File::Basename::dirname($path));
		open(my $handle, '>', $path) or die "$path: $!";
		print $handle "$content\n";
		close($handle);
	}
	return;
}

# Start the server on this machine; the difference for which it stops mirroring, or ''.
sub asks
{
	my (%files) = @_;
	machine(%files);
	my $offset = -s $node->logfile;
	$node->restart;
	sql('INSERT INTO placed SELECT max(id) + 1 FROM placed');
	wait_for('the worker', sub {
		mirrored('placed') || log_since($offset) =~ /nothing is mirrored: this server runs at .*\(not the same: (.*)\)/;
	});
	my ($difference) = log_since($offset) =~ /nothing is mirrored: this server runs at .*\(not the same: (.*)\)/;
	return $difference // '';
}

# Start the server on this machine, and forget the one before.
sub moves_to
{
	asks(@_);
	sql("SELECT mixpeek.adopt(); UPDATE mixpeek.origin SET instance = substring(instance FROM '^[^ ]*'),
		written_by = pg_current_xact_id()::text::bigint");
	return;
}

$api->faults();
$api->reset(documents => 1);
$node = new_node('placed', install_path => $ENV{MIXPEEK_WEAK});
$node->append_conf('postgresql.conf', "mixpeek.root = '$root'\n");
my $disk = 'sys/dev/block/DEVICE';
my %vm = (
	'etc/machine-id' => 'a' x 32, "$disk/serial" => 'vol-1', "$disk/dm/uuid" => 'LVM-one',
	'proc/sys/kernel/random/boot_id' => 'boot 1',
	'sys/class/net/eth0/device/vendor' => 'x', 'sys/class/net/eth0/address' => '52:54:00:00:00:01',
		'sys/class/net/eth0/addr_assign_type' => 0);
my %pod = (
	'run/.containerenv' => '', 'var/run/secrets/kubernetes.io/serviceaccount/namespace' => 'production',
	'etc/machine-id' => 'a' x 32, "$disk/serial" => 'vol-1', 'proc/sys/kernel/random/boot_id' => 'boot 1');
machine();
$node->start;
sql('CREATE EXTENSION mixpeek_docs');
create_server($node, 'mixpeek', $api, request_timeout => 2);
sql("CREATE TABLE placed (id int PRIMARY KEY); INSERT INTO placed VALUES (1); SELECT mixpeek.mirror('placed',
	'placed')");
wait_for('the table', sub { mirrored('placed') });

# Changes with which mirroring goes on
sql("UPDATE mixpeek.origin SET instance = substring(instance FROM '^[^ ]*'),
		written_by = pg_current_xact_id()::text::bigint");
is(asks(%vm), '', 'a place as 1.0 has noted it goes on');
like(sql('SELECT instance FROM mixpeek.origin'),
	qr/^\S+:\d+ volume=\S+ disk=\S+ boot=\S+ dev=\S+ machine=\S+ net=\S+$/, 'the place is noted as it is known now');
unlike(sql('SELECT instance FROM mixpeek.origin'), qr/52:54|aaaa|vol-1|LVM/,
	'the place that is noted has no address, id or serial number in plain');
is(asks(%vm, 'proc/sys/kernel/random/boot_id' => 'boot 2'), '', 'goes on: a reboot');
is(asks(%vm, 'sys/class/net/eth1/device/vendor' => 'x', 'sys/class/net/eth1/address' => '52:54:00:00:00:02'), '',
	'goes on: one more network interface');
is(asks(%vm, 'sys/class/net/eth0/address' => '52:54:00:00:00:09', 'sys/class/net/eth1/device/vendor' => 'x',
	'sys/class/net/eth1/address' => '52:54:00:00:00:02'), '', 'goes on: one of two network interfaces is replaced');
is(asks(%vm, 'sys/class/net/eth0/address' => '52:54:00:00:00:09',
	'sys/class/net/docker0/address' => '02:42:00:00:00:01'), '',
	'goes on: one more network interface that is not hardware');
is(asks(map { $_ => $vm{$_} } grep { !/net|machine-id/ } keys %vm), '',
	'goes on: interfaces and machine-id that cannot be seen any more');
my %now = (%vm, 'sys/class/net/eth0/address' => '52:54:00:00:00:09');
is(asks(%now), '', 'goes on: interfaces and machine-id that can be seen again');
is(asks(%now, "$disk/slaves/sda/serial" => 'vol-1', "$disk/slaves/sdb/serial" => 'vol-2'), '',
	'goes on: a volume that is extended to another disk');
is(asks(%now, "$disk/slaves/sdb/serial" => 'vol-2'), '', 'goes on: a volume that has left its first disk');
is(asks(%now, "$disk/slaves/crypt/dm/uuid" => 'CRYPT', "$disk/slaves/crypt/slaves/sdb/serial" => 'vol-2'), '',
	'goes on: a volume on one more layer');
is(asks(%now, "$disk/slaves/crypt/dm/uuid" => 'CRYPT', "$disk/slaves/crypt/slaves/sdb/serial" => 'vol-2',
	'sys/class/dmi/id/board_asset_tag' => 'i-1'), '', 'goes on: a machine that now has an instance id');

# Changes with which mirroring stops, until adopt() is called
my %last = (%now, "$disk/slaves/crypt/dm/uuid" => 'CRYPT', "$disk/slaves/crypt/slaves/sdb/serial" => 'vol-2',
	'sys/class/dmi/id/board_asset_tag' => 'i-1');
my $creates = $api->stats->{creates};
is(asks(%last, "$disk/dm/uuid" => 'LVM-snapshot'), 'the volume', 'stops: a snapshot of the volume');
is(asks(%last, "$disk/slaves/crypt/slaves/sdb/serial" => 'vol-3'), 'the disk', 'stops: a clone of the disk');
is(asks(%last, "$disk/slaves/crypt/dm/uuid" => 'CRYPT-2'), 'the volume', 'stops: a clone of a layer below the volume');
is(asks(%last, 'sys/class/net/eth0/address' => '52:54:00:00:00:77'), 'the network interfaces',
	'stops: other addresses of the network interfaces');
is(asks(%last, 'etc/machine-id' => 'b' x 32), "the machine's id", 'stops: another machine-id');
is(asks(%last, 'sys/class/dmi/id/board_asset_tag' => 'i-2'), 'the machine', 'stops: another instance id');
is($api->stats->{creates}, $creates, 'nothing is sent from a place that is not the same');
is(asks(%last), '', 'goes on: the original after its clones');

# Containers
moves_to(%pod);
is(asks(%pod), '', 'goes on: a pod');
unlike(sql('SELECT instance FROM mixpeek.origin'), qr/machine=/,
	"the place of a pod does not have its host's machine-id");
is(asks(%pod, 'etc/machine-id' => 'c' x 32, 'proc/sys/kernel/random/boot_id' => 'boot 7',
	'sys/class/net/eth0/device/vendor' => 'x',
	'sys/class/net/eth0/address' => '52:54:00:00:00:31', 'sys/class/dmi/id/board_asset_tag' => 'i-9'), '',
	'goes on: a pod that is moved to another host with its volume');
is(asks(%pod, 'var/run/secrets/kubernetes.io/serviceaccount/namespace' => 'staging'), 'the Kubernetes namespace',
	'stops: a pod in another namespace');
my %resolver = map { $_ => $pod{$_} } grep { !/namespace/ } keys %pod;
is(asks(%resolver, 'etc/resolv.conf' => "nameserver 10.0.0.1\nsearch staging.svc.cluster.local svc.cluster.local"),
	'the Kubernetes namespace', 'stops: a pod in another namespace, known from resolv.conf only');
is(asks(%resolver, 'etc/resolv.conf' => "nameserver 10.0.0.1\nsearch production.svc.cluster.local svc.cluster.local"),
	'', 'goes on: a pod in its namespace, known from resolv.conf only');
is(asks(%pod, "$disk/serial" => 'vol-5'), 'the disk', 'stops: a pod on a clone of its volume');
my %rbd = (%pod, "$disk/device/pool" => 'p', "$disk/device/name" => 'csi-vol-1');
is(asks(%rbd), 'the disk', 'stops: a pod on an RBD image');
sql('SELECT mixpeek.adopt()');
is(asks(%rbd, "$disk/device/name" => 'csi-vol-2'), 'the disk', 'stops: a pod on another RBD image');

# Nothing is known but the device
my %bare = ('proc/sys/kernel/random/boot_id' => 'boot 1');
moves_to(%bare);
is(asks(%bare), '', 'goes on: a machine of which nothing is known');
sql("UPDATE mixpeek.origin SET instance = regexp_replace(instance, 'dev=\\S+', 'dev=999:1'),
	written_by = pg_current_xact_id()::text::bigint");
is(asks(%bare), 'the device', 'stops: a machine of which nothing is known, with another device in the same boot');
is(asks('proc/sys/kernel/random/boot_id' => 'boot 2'), '',
	'goes on: a machine of which nothing is known, with another device after a reboot');

# mixpeek.instance stands above everything else
$node->append_conf('postgresql.conf', "mixpeek.instance = 'the one'\n");
is(asks(%vm), 'its name', 'stops: mixpeek.instance is set');
sql('SELECT mixpeek.adopt()');
is(asks(%pod), '', 'goes on: the same mixpeek.instance anywhere else');
is(sql('SELECT instance FROM mixpeek.origin'), 'the one', 'mixpeek.instance is noted as it is');
$node->stop;

done_testing();
